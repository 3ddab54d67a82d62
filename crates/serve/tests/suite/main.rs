//! The one integration binary: the service over real sockets.

mod desk;
mod endpoints;
mod limits;
mod models;
mod models_desk;
mod page;
mod refusals;
mod reload;
mod stop;
mod tokens;
