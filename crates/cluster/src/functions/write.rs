//! Rows of a partition to a file of its own.
//!
//! A task that is lost is done again, and a stage's tasks are done again too when the executor that holds their results is lost. A writer
//! that names files by partition would be written twice at once, one that names them anew leaves doubles. Here the name is new every time
//! and *travels with the result*: the names that reach the end are those of the tasks whose results counted, each exactly once, and what
//! else lies in the folder is of no task.

use super::literal;
use crate::failure::{from_store, library, refuse};
use crate::storage::{Place, wait, waiting_storage};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::scalar::ScalarValue;
use object_store::{ObjectStoreExt as _, WriteMultipart};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows that a file compresses together, and that wait in memory for it.
const ROW_GROUP_ROWS: usize = 1 << 18;
/// Parts of a file that are on their way to a store at once.
const PARTS_ON_THE_WAY: usize = 4;

/// A file of a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartFile {
    /// Its name in the folder.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

/// The files that a query wrote.
///
/// # Errors
/// If the text is none of [`write_parts`](super::write_parts).
pub fn read_parts(text: &str) -> sememe::Result<Vec<PartFile>> {
    serde_json::from_str(text).map_err(|e| sememe::Error::Data(format!("a list of files cannot be read: {e}")))
}

/// See [`write_parts`](super::write_parts).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct WriteParts(Signature);

impl Default for WriteParts {
    fn default() -> Self {
        Self(Signature::any(2, Volatility::Volatile))
    }
}

impl AggregateUDFImpl for WriteParts {
    fn name(&self) -> &'static str {
        "semantic_write"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(DataType::Struct(_)) => Ok(DataType::Utf8),
            other => Err(refuse(format!("semantic_write: expected a row as a struct, got {other:?}"))),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let begins = literal::of_expression(&args.exprs[1], self.name(), "the place of files")?;
        Ok(Box::new(Parts { begins, open: Mutex::new(None), done: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[files]", args.name), DataType::Utf8, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

struct Parts {
    /// What the places of files begin with.
    begins: String,
    /// Locked by nobody: a writer may not be looked at by two threads, and accumulators have to allow it.
    open: Mutex<Option<OpenPart>>,
    done: Vec<PartFile>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("begins", &self.begins).field("done", &self.done).finish_non_exhaustive()
    }
}

impl Parts {
    fn open(&mut self) -> &mut Option<OpenPart> {
        self.open.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&mut self) -> Result<ScalarValue> {
        if let Some(open) = self.open().take() {
            self.done.push(open.finish()?);
        }
        // Serialising texts and numbers does not fail.
        Ok(ScalarValue::Utf8(Some(serde_json::to_string(&self.done).unwrap_or_default())))
    }
}

impl Accumulator for Parts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values[0].as_struct();
        if rows.is_empty() {
            return Ok(());
        }
        let open = match self.open().take() {
            Some(open) => open,
            None => OpenPart::create(&self.begins, Arc::new(Schema::new(rows.fields().clone())))?,
        };
        let open = self.open().insert(open);
        open.put(&RecordBatch::from(rows.clone()))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for text in states[0].as_string::<i32>().iter().flatten() {
            self.done.extend(read_parts(text).map_err(|e| library(&e))?);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.done.sort_unstable();
        self.list()
    }

    fn size(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = open.as_ref().and_then(|open| open.writer.as_ref());
        let waiting = writer.map_or(0, ArrowWriter::memory_size);
        size_of_val(self) + waiting + self.done.len() * 64
    }
}

/// A text that nobody else has, on no machine.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = format!("{host} {} {now} {}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    sememe::digest::sha256(name.as_bytes())[..16].to_owned()
}

struct OpenPart {
    place: Place,
    name: String,
    rows: u64,
    writer: Option<ArrowWriter<Upload>>,
}

impl OpenPart {
    fn create(begins: &str, schema: Arc<Schema>) -> Result<Self> {
        let whole = format!("{begins}-{}.parquet", unique());
        let name = whole.rsplit('/').next().unwrap_or_default().to_owned();
        let place = waiting_storage().place(&whole).map_err(|e| library(&e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let begun = {
            let place = place.clone();
            wait(async move { place.store.put_multipart(&place.path).await })
        };
        let upload = begun.map_err(|e| library(&from_store("write", &place.name, &e)))?;
        let upload = Upload { parts: Some(WriteMultipart::new(upload)), place: place.name.clone() };
        let writer = ArrowWriter::try_new(upload, schema, Some(properties)).map_err(failed)?;
        Ok(Self { place, name, rows: 0, writer: Some(writer) })
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(batch)).map_err(failed)
    }

    fn finish(mut self) -> Result<PartFile> {
        if let Some(writer) = self.writer.take() {
            writer.into_inner().and_then(|upload| Ok(upload.finish()?)).map_err(failed)?;
        }
        if let Some(path) = &self.place.local {
            crate::storage::last(path).map_err(|e| library(&e))?;
        }
        Ok(PartFile { name: std::mem::take(&mut self.name), rows: self.rows })
    }
}

fn failed(error: datafusion::parquet::errors::ParquetError) -> DataFusionError {
    DataFusionError::ParquetError(Box::new(error))
}

/// The bytes of a file on their way to a store. Dropped before its end it leaves nothing.
struct Upload {
    parts: Option<WriteMultipart>,
    place: String,
}

impl Upload {
    fn finish(mut self) -> io::Result<()> {
        match self.parts.take() {
            Some(parts) => wait(async move { parts.finish().await }).map(|_| ()).map_err(|e| self.failed(&e)),
            None => Ok(()),
        }
    }

    fn failed(&self, error: &object_store::Error) -> io::Error {
        io::Error::other(from_store("write", &self.place, error).to_string())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut parts) = self.parts.take() else { return Ok(bytes.len()) };
        let owned = bytes.to_vec();
        let (parts, done) = wait(async move {
            parts.write(&owned);
            let done = parts.wait_for_capacity(PARTS_ON_THE_WAY).await;
            (parts, done)
        });
        self.parts = Some(parts);
        done.map_err(|e| self.failed(&e))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            // Nobody is left to be told.
            let _ = wait(async move { parts.abort().await });
        }
    }
}
