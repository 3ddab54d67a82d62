//! The one integration binary: the service over real sockets.

mod desk;
mod document;
mod endpoints;
mod extremes;
mod limits;
mod models;
mod models_desk;
mod page;
mod refusals;
mod reload;
mod schemathesis;
mod stop;
mod tokens;
