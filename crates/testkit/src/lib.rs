//! What the tests of several packages share: servers, a browser, a Python, made-up models and catalogues, slow forms. Not published.

pub mod catalogue;
#[cfg(unix)]
pub mod chromium;
pub mod embed_oracle;
pub mod embed_server;
pub mod files;
pub mod html;
mod python;
#[cfg(unix)]
pub mod redis_server;
pub mod slow_eval;
pub mod text;

pub use python::python_with;
