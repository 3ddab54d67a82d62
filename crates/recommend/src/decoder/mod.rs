//! The decoder of the Llama family: its shape, where its parameters lie, and its passes over packed tokens.

mod adam;
#[cfg(feature = "language")]
mod adapters;
mod backward;
mod cached;
mod key_cache;
mod layout;
mod learned;
mod masks;
mod passes;
mod rope;
mod segments;
mod shape;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use adam::{Adam, AdamStep, Moments, ParameterRun, warmed_cosine};
#[cfg(feature = "language")]
pub(crate) use adapters::{Adapter, Adapters};
pub(crate) use cached::CachedDecoder;
pub(crate) use layout::DecoderLayout;
pub(crate) use learned::LearnedParts;
pub(crate) use masks::{DropoutMasks, mask_bits, mask_count, mask_words};
pub(crate) use passes::{DecoderBuffers, DecoderPass};
pub use rope::RopeScaling;
pub(crate) use segments::DeviceSegments;
pub use shape::DecoderShape;
#[cfg(test)]
pub(crate) use tests::devices as testing_devices;
pub(crate) use tokens::{PackedPlaces, PackedTokens, packed};
