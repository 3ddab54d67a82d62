//! Rows to codes: one row at once on the thread that asks, many on all cores, and rows of several requests together where that is faster.

mod batch;

use crate::error::{ApiError, ErrorCode};
use batch::Batcher;
use sememe::device::DeviceChoice;
use sememe::{Codec, EncodeOptions, Encoder, MatrixView, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// From so many values on, rows are encoded on threads of their own: below, waking those takes longer than the work.
const MANY_VALUES: usize = 32 * 1024;

/// How many requests of many rows are encoded at once; each uses all cores.
const LARGE_AT_ONCE: usize = 2;

/// How rows are encoded.
#[derive(Clone, Copy, Debug)]
pub struct EncodingOptions {
    /// The device.
    pub device: DeviceChoice,
    /// How long rows of several requests may wait for each other.
    pub gather: Duration,
}

impl Default for EncodingOptions {
    fn default() -> Self {
        Self { device: DeviceChoice::Auto, gather: Duration::from_millis(1) }
    }
}

/// A codec at work.
pub struct Encoding {
    codec: Codec,
    encoder: Arc<Encoder>,
    /// Where one row alone is slow: codecs with a network, whose layers a batch shares.
    batcher: Option<Batcher>,
    large: Semaphore,
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batched = self.batcher.is_some();
        f.debug_struct("Encoding").field("codec", &self.codec).field("batched", &batched).finish_non_exhaustive()
    }
}

impl Encoding {
    /// Makes the encoder.
    ///
    /// # Errors
    /// Device errors.
    pub fn new(codec: &Codec, options: &EncodingOptions) -> Result<Self> {
        // With one row at a time a GPU would never be worth its start; a named one is used.
        let device = options.device.open(1)?;
        let encoder = Arc::new(codec.encoder(&device, &EncodeOptions::default())?);
        // A row takes a k-means codec microseconds, which is what a hand-over to another thread and back would add.
        let batched = codec.manifest().encoder.is_some();
        let batcher = batched.then(|| Batcher::start(Arc::clone(&encoder), codec, options.gather)).transpose()?;
        // Made now, not by the first request.
        let probe = vec![0.0; codec.dims()];
        let _ = codec.encode_row(&probe);
        Ok(Self { codec: codec.clone(), encoder, batcher, large: Semaphore::new(LARGE_AT_ONCE) })
    }

    /// Codes `[n, levels]` of rows `[n, d]`.
    ///
    /// # Errors
    /// `rows_shape` if the values are no rows, `not_finite`, `busy` if too many rows wait already.
    pub async fn encode(&self, rows: Vec<f32>) -> Result<Vec<u32>, ApiError> {
        let (dims, levels) = (self.codec.dims(), self.codec.levels());
        check_values(&rows, dims)?;
        if rows.len() >= MANY_VALUES {
            return self.encode_many(rows).await;
        }
        if let Some(batcher) = &self.batcher {
            return batcher.encode(rows).await;
        }
        if rows.len() == dims {
            return Ok(self.codec.encode_row(&rows)?);
        }
        let mut codes = Vec::with_capacity(rows.len() / dims * levels);
        for row in rows.chunks_exact(dims) {
            codes.extend(self.codec.encode_row(row)?);
        }
        Ok(codes)
    }

    async fn encode_many(&self, rows: Vec<f32>) -> Result<Vec<u32>, ApiError> {
        let _turn = self.large.acquire().await.map_err(ApiError::internal)?;
        let (encoder, dims, levels) = (Arc::clone(&self.encoder), self.codec.dims(), self.codec.levels());
        let work = move || -> Result<Vec<u32>> {
            let count = rows.len() / dims;
            let mut codes = vec![0; count * levels];
            encoder.encode_into(MatrixView::new(count, dims, &rows)?, &mut codes)?;
            Ok(codes)
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)??)
    }
}

/// Refuses values that are no rows of `dims`, or not finite.
fn check_values(values: &[f32], dims: usize) -> Result<(), ApiError> {
    if !values.len().is_multiple_of(dims) {
        let problem = format!("got {} values, which are no rows of {dims}", values.len());
        return Err(ApiError::new(ErrorCode::RowsShape, problem).hint(format!("send rows of {dims} values")));
    }
    // One sum instead of a branch a value; it overflows for large values, so that it only asks for a closer look.
    if values.iter().map(|v| v * 0.0).sum::<f32>() == 0.0 {
        return Ok(());
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => {
            let (row, column, value) = (at / dims, at % dims, values[at]);
            Err(ApiError::new(ErrorCode::NotFinite, format!("value {column} of row {row} is {value}"))
                .hint("send finite float32 values"))
        }
        None => Ok(()),
    }
}
