//! Items: parquet files of rows with an embedding.

use crate::embeddings::{dims, is_embedding};
use crate::failure::from_engine;
use crate::session::Session;
use crate::storage::{Place, storage};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::datatypes::Schema;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{Expr, ParquetReadOptions, cast, col, ident};
use sememe::{Error, Observer, Result};

/// Which columns of which files.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// Parquet files and folders of them, as paths or `s3://…`.
    pub places: Vec<String>,
    /// The column of embeddings; `None` is `embedding`, `embeddings`, or the only one that holds lists of floating point numbers.
    pub column: Option<String>,
    /// The column that names items.
    pub key: Option<String>,
}

/// Items, opened.
pub struct OpenItems {
    pub frame: DataFrame,
    /// The column of embeddings.
    pub column: String,
    pub key: Option<String>,
}

fn names(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
    names.join(", ")
}

/// A column by name; its case counts.
fn find<'a>(schema: &Schema, name: &'a str, what: &str) -> Result<&'a str> {
    match schema.column_with_name(name) {
        Some(_) => Ok(name),
        None => {
            let problem = format!("there is no `{name}`; the items have {}", names(schema));
            Err(Error::config(what, problem))
        }
    }
}

fn embedding(schema: &Schema, asked: Option<&str>) -> Result<String> {
    if let Some(name) = asked {
        let kind = schema.field_with_name(find(schema, name, "column")?).map(|field| field.data_type().clone());
        return match kind {
            Ok(kind) if is_embedding(&kind) => Ok(name.to_owned()),
            Ok(kind) => Err(Error::config(
                "column",
                format!("`{name}` holds {kind}, expected lists of float32, float64 or float16"),
            )),
            Err(e) => Err(Error::config("column", e.to_string())),
        };
    }
    let found: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|field| is_embedding(field.data_type()))
        .map(|field| field.name().as_str())
        .collect();
    let usual = ["embedding", "embeddings"].into_iter().find(|name| found.contains(name));
    match (usual, found.as_slice()) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, [name]) => Ok((*name).to_owned()),
        (None, []) => Err(Error::config(
            "column",
            format!("no column holds lists of floating point numbers; the items have {}", names(schema)),
        )),
        (None, several) => Err(Error::config(
            "column",
            format!(
                "{} columns hold lists of floating point numbers, name one of `{}`",
                several.len(),
                several.join("`, `")
            ),
        )),
    }
}

impl Items {
    /// Opens the files: their schema is read, and no rows yet.
    ///
    /// # Errors
    /// [`Error::Config`] for columns that are not there, with those that are; [`Error::Data`] if there are no files.
    pub async fn open(&self, session: &Session) -> Result<OpenItems> {
        if self.places.is_empty() {
            return Err(Error::config("items", "no files are named"));
        }
        let mut urls = Vec::new();
        for name in &self.places {
            urls.push(self.url(name).await?);
        }
        let options = ParquetReadOptions::default();
        let frame = session.context().read_parquet(urls, options).await.map_err(|e| from_engine(&e))?;
        let schema = frame.schema().as_arrow().clone();
        let column = embedding(&schema, self.column.as_deref())?;
        let key = self.key.as_deref().map(|key| find(&schema, key, "key").map(str::to_owned)).transpose()?;
        Ok(OpenItems { frame, column, key })
    }

    /// A file, or a folder with a slash at its end, as the engine tells them apart.
    async fn url(&self, name: &str) -> Result<String> {
        let place: Place = storage().place(name)?;
        if place.is_file().await? {
            return Ok(place.url.to_string());
        }
        let files = place.list().await?;
        if files.iter().any(|file| file.ends_with(".parquet")) {
            return Ok(format!("{}/", place.url.as_str().trim_end_matches('/')));
        }
        Err(Error::Data(match files.len() {
            0 => format!("there is no `{name}`"),
            count => format!("`{name}` holds {count} files and none ends in .parquet"),
        }))
    }
}

impl OpenItems {
    /// The column of embeddings.
    pub fn embedding(&self) -> Expr {
        ident(&self.column)
    }

    /// The key as text, for messages and for order.
    pub fn key_text(&self) -> Option<Expr> {
        self.key.as_ref().map(|key| cast(ident(key), DataType::Utf8))
    }

    /// Names of the columns beside the embedding.
    pub fn others(&self) -> Vec<String> {
        let fields = self.frame.schema().fields().iter().map(|field| field.name().clone());
        fields.filter(|name| *name != self.column).collect()
    }

    /// Dimensions of an embedding: by the type, or by the first row.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no row to say.
    pub async fn dims(&self, session: &Session, observer: &dyn Observer) -> Result<usize> {
        let first = self.frame.clone().select(vec![self.embedding().alias("e")]);
        let first =
            first.and_then(|frame| frame.filter(col("e").is_not_null())).and_then(|frame| frame.limit(0, Some(1)));
        let batches = session.run(first.map_err(|e| from_engine(&e))?, observer).await?;
        for batch in &batches {
            if let Some(dims) = dims(batch.column(0)).map_err(|e| from_engine(&e))?
                && batch.num_rows() > 0
            {
                return Ok(dims);
            }
        }
        Err(Error::Data("there are no rows".into()))
    }
}
