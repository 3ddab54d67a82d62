//! The one integration binary; each module is a kind of promise.

#[cfg(feature = "cli")]
mod cli;
mod codec;
#[cfg(feature = "gpu")]
mod contract;
mod eval;
#[cfg(feature = "gpu")]
mod gradients;
#[cfg(feature = "gpu")]
mod gradients_update;
mod hostile;
mod io;
mod network_codec;
mod network_file;
#[cfg(feature = "gpu")]
mod parity;
#[cfg(feature = "gpu")]
mod quantisers;
mod real;
mod regression;
#[cfg(feature = "gpu")]
mod support;
#[cfg(feature = "gpu")]
mod tensors;
