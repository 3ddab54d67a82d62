//! `sememe import`.

#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::failure::usage;
use crate::output::{output, print, print_json};
use crate::progress::Progress;
#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::store_place::{Place, Waiting};
use crate::text::{count, sizes, whole};
use anyhow::Result;
use clap::{Args, ValueEnum, ValueHint};
use sememe::io::{CodesWriter, OpenOptions, open};
use sememe::{Codec, Matrix, Metric};
use sememe_import::{Content, IdTable, ImportOptions, Imported, Origin, import, recognise};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Rows that networks are measured on at most.
const MOST_ROWS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    Yes,
    No,
}

#[derive(Debug, Args)]
pub struct Flags {
    /// File or folder of BASIL, semantic-id, GRID, OpenOneRec, MiniOneRec, LC-Rec, vector-quantize-pytorch, faiss (its codebooks as .npy or
    /// .npz) or AniMind, an index.json, or arrays of codebooks; what it is is seen from its content
    #[arg(value_name = "FILE|FOLDER", value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,
    /// Codec to write: .safetensors; for a table of IDs codes with keys: .jsonl, .csv or .parquet
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    #[arg(long, value_name = "NAME", value_parser = origin)]
    #[arg(
        help = "What it is, where that cannot be seen: faiss-pq for a .npy of a product quantiser; any name that --json tells"
    )]
    pub from: Option<Origin>,
    /// Which arrays are the codebooks: a name, names with `*` for the level's number, or what stands before a system's own names
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Whether residuals are divided by their norm before every level: for GRID and plain arrays
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    pub normalize_residuals: Option<YesNo>,
    /// Prefixes a row that encoding keeps; faiss keeps 5 unless it is told otherwise
    #[arg(long, value_name = "N")]
    pub beam: Option<usize>,
    /// Embeddings like those to encode, for a codec with networks: on up to 64 of them devices' arithmetic is measured
    #[arg(long, value_name = "ROWS", value_hint = ValueHint::FilePath)]
    pub rows: Option<PathBuf>,
    /// New store in which the IDs that semantic-id's engine gave out are passed over: an SQLite file, or redis://host:6379/0
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    #[arg(long, value_name = "STORE", value_hint = ValueHint::FilePath)]
    pub store: Option<PathBuf>,
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    #[command(flatten)]
    pub waiting: Waiting,
}

fn origin(text: &str) -> Result<Origin, String> {
    let names = || Origin::all().map(Origin::name).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("expected one of {}", names()))
}

pub struct Plan {
    pub source: PathBuf,
    pub output: PathBuf,
    pub options: ImportOptions,
    pub rows: Option<PathBuf>,
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    pub store: Option<Place>,
}

pub fn plan(flags: Flags) -> Result<Plan> {
    let from = match flags.from {
        Some(from) => from,
        None => recognise(&flags.source)?,
    };
    let table = matches!(from, Origin::Index | Origin::AniMindIds);
    let inputs: Vec<&Path> = std::iter::once(flags.source.as_path()).chain(flags.rows.as_deref()).collect();
    let (endings, what): (&[&str], _) = if table {
        (&["jsonl", "csv", "parquet"], format!("`{}` holds IDs, which are written as", flags.source.display()))
    } else {
        (&["safetensors"], "a codec is written as".to_owned())
    };
    output(&flags.output, endings, &what, &inputs, true)?;
    crate::output::writes_parquet(&flags.output)?;
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    if flags.store.is_some() && from != Origin::SemanticIdEngine {
        return Err(usage(format!(
            "`--store`: only an engine of semantic-id has counters, and `{}` is of {from}; leave it out",
            flags.source.display()
        )));
    }
    let normalize_residuals = flags.normalize_residuals.map(|choice| choice == YesNo::Yes);
    let options = ImportOptions {
        from: flags.from,
        tensor: flags.tensor,
        normalize_residuals,
        beam: flags.beam,
        rows: Matrix::default(),
    };
    Ok(Plan {
        source: flags.source,
        output: flags.output,
        options,
        rows: flags.rows,
        #[cfg(any(feature = "sqlite", feature = "redis"))]
        store: flags.store.map(|path| Place::new(path, flags.waiting)),
    })
}

/// Reads, writes, and says what was found and what was assumed.
pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let mut options = plan.options.clone();
    if let Some(rows) = &plan.rows {
        options.rows = some_rows(rows)?;
    }
    let imported = import(&plan.source, &options)?;
    #[cfg(any(feature = "sqlite", feature = "redis"))]
    if plan.store.is_some() && imported.counters.is_none() {
        return Err(usage(format!("`--store`: `{}` kept no counters on disk; leave it out", plan.source.display())));
    }
    let mut told = json!({ "output": plan.output.display().to_string(), "from": imported.origin.name() });
    let text = match &imported.content {
        Content::Codec(codec) => {
            codec.save(&plan.output)?;
            of_codec(codec, &mut told)
        }
        Content::Ids(table) => {
            write_table(table, &plan.output)?;
            of_table(table, &mut told)
        }
    };
    let reserved = reserve(plan, &imported)?;
    progress.finish();
    imported.notes.iter().for_each(|note| progress.note(&note.to_string()));
    if progress.json {
        told["reserved_ids"] = json!(reserved);
        told["notes"] = json!(progress.notes());
        return print_json(&told);
    }
    if progress.quiet {
        return Ok(());
    }
    let reserved = reserved
        .map_or_else(String::new, |n| format!("{} given out before will not be given out again\n", count(n, "ID")));
    print(&format!("wrote {} from {}\n{text}{reserved}", plan.output.display(), imported.origin))
}

/// Up to 64 rows from all over a file.
fn some_rows(path: &Path) -> Result<Matrix> {
    let source = open(path, &OpenOptions::default())?;
    let kept = source.rows().min(MOST_ROWS);
    let mut rows = Matrix::zeros(kept, source.dims())?;
    for i in 0..kept {
        source.read_rows(i * source.rows() / kept, rows.row_mut(i))?;
    }
    Ok(rows)
}

fn of_codec(codec: &Codec, told: &mut Value) -> String {
    let m = codec.manifest();
    told["kind"] = json!("codec");
    told["codec"] = json!(codec.content_hash());
    told["dims"] = json!(m.dims);
    told["inner_dims"] = json!(m.inner_dims);
    told["codebook_sizes"] = json!(m.codebook_sizes);
    told["metric"] = json!(m.metric);
    told["normalize_residuals"] = json!(m.normalize_residuals);
    told["product"] = json!(m.product);
    told["shared_codebook"] = json!(m.shared_codebook);
    told["beam"] = json!(m.beam);
    told["encoder"] = json!(m.encoder.as_ref().map(ToString::to_string));
    let mut parts = vec![format!("{} of {}", sizes(&m.codebook_sizes), count(m.dims as u64, "dimension"))];
    if m.inner_dims != m.dims {
        parts.push(format!("{} after a projection", m.inner_dims));
    }
    if let Some(encoder) = &m.encoder {
        parts.push(format!("encoder {encoder}"));
    }
    for (is, what) in [
        (m.product, "levels side by side"),
        (m.shared_codebook, "one codebook for all levels"),
        (m.normalize_residuals, "residuals of norm 1"),
        (m.metric == Metric::Cosine, "by cosine"),
    ] {
        if is {
            parts.push(what.to_owned());
        }
    }
    if m.beam > 1 {
        parts.push(format!("a beam of {}", m.beam));
    }
    format!("{}\n", parts.join(", "))
}

fn of_table(table: &IdTable, told: &mut Value) -> String {
    told["kind"] = json!("ids");
    told["rows"] = json!(table.codes.rows());
    told["codebook_sizes"] = json!(table.codebook_sizes);
    let (rows, levels) = (whole(table.codes.rows() as u64), count(table.codes.levels() as u64, "code"));
    format!("{rows} items, {levels} each, of {}\n", sizes(&table.codebook_sizes))
}

fn write_table(table: &IdTable, path: &Path) -> Result<()> {
    let (rows, levels) = (table.codes.rows(), table.codes.levels());
    let mut writer = CodesWriter::create_keyed(path, rows, levels, &table.codebook_sizes)?;
    let numbers: Vec<u64> = (0..rows as u64).collect();
    writer.write_with_keys(&numbers, &table.keys, table.codes.as_slice())?;
    writer.finish()?;
    Ok(())
}

#[cfg(any(feature = "sqlite", feature = "redis"))]
fn reserve(plan: &Plan, imported: &Imported) -> Result<Option<u64>> {
    let (Some(place), Content::Codec(codec), Some(counters)) = (&plan.store, &imported.content, &imported.counters)
    else {
        return Ok(None);
    };
    let mut store = place.open(codec.content_hash(), codec.levels())?;
    Ok(Some(counters.reserve(&mut *store)?))
}

#[cfg(not(any(feature = "sqlite", feature = "redis")))]
fn reserve(_: &Plan, _: &Imported) -> Result<Option<u64>> {
    Ok(None)
}
