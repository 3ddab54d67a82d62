//! Tests of the library and its programs.

mod assign;
mod cluster;
mod encode;
mod evaluate;
mod fit;
mod functions;
mod program;
mod s3;
mod support;
