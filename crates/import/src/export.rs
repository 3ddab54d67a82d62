//! A codec in forms that other systems load.

use crate::note::Note;
use crate::systems::numpy::{FORMAT, METADATA, NumpyMetadata};
use sememe::codec::{Activation, Mlp, ResidualQuantizer};
use sememe::io::{ArrayValues, NamedArray, write_arrays};
use sememe::{Codec, Error, Matrix, Metric, Result};
use std::path::Path;
use std::str::FromStr;

/// A form to export a codec in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// `.npz` for faiss: `rq_codebooks` `[levels, k, d]` (or `rq_codebooks.{l}` where sizes differ), or `pq_centroids` `[levels, k, w]` with
    /// `opq_rotation` `[d, d]`.
    Faiss,
    /// `.npz` for numpy: every part of any codec, and `metadata` as bytes of JSON.
    Numpy,
    /// `.safetensors` for PyTorch: the state dict of vector-quantize-pytorch's `ResidualVQ`, or, with networks, of LC-Rec's `RQVAE`.
    TorchSafetensors,
}

impl ExportFormat {
    /// Its name, as in `torch-safetensors`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Faiss => "faiss",
            Self::Numpy => "numpy",
            Self::TorchSafetensors => "torch-safetensors",
        }
    }

    /// How its files end.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Faiss | Self::Numpy => "npz",
            Self::TorchSafetensors => "safetensors",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Faiss, Self::Numpy, Self::TorchSafetensors];
        all.into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| Error::config("format", format!("expected faiss, numpy or torch-safetensors, got `{text}`")))
    }
}

/// Arrays that own their values, until they are written.
#[derive(Default)]
struct Out(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Out {
    fn put(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.0.push((name.into(), shape.to_vec(), values.to_vec()));
    }

    fn matrix(&mut self, name: impl Into<String>, matrix: &Matrix) {
        self.put(name, &[matrix.rows(), matrix.dims()], matrix.as_slice());
    }

    fn write(&self, path: &Path, text: Option<&[u8]>) -> Result<()> {
        let mut arrays: Vec<NamedArray<'_>> =
            self.0.iter().map(|(name, shape, values)| NamedArray::new(name, shape, ArrayValues::F32(values))).collect();
        if let Some(text) = text {
            arrays.push(NamedArray::new(METADATA, &[text.len()], ArrayValues::U8(text)));
        }
        write_arrays(path, &arrays)
    }
}

/// Writes a codec for others, whole or not at all, and says what they have to be told.
///
/// # Errors
/// [`Error::Codec`] with the reason for what the format cannot express; if the file cannot be written, or its name ends in another way than
/// [`ExportFormat::extension`].
pub fn export(codec: &Codec, format: ExportFormat, path: impl AsRef<Path>) -> Result<Vec<Note>> {
    let path = path.as_ref();
    if sememe::io::extension(path) != format.extension() {
        return Err(Error::format(path, format!("{} is written as .{}", format.name(), format.extension())));
    }
    match format {
        ExportFormat::Faiss => faiss(codec, path),
        ExportFormat::Numpy => numpy(codec, path),
        ExportFormat::TorchSafetensors => torch(codec, path),
    }
}

/// Refuses what a format has no place for.
fn refuse(format: ExportFormat, found: &[(bool, &str)]) -> Result<()> {
    let there: Vec<&str> = found.iter().filter(|(there, _)| *there).map(|(_, what)| *what).collect();
    if there.is_empty() {
        return Ok(());
    }
    Err(Error::Codec(format!(
        "{} cannot express {}; export as {}, which holds every part",
        format.name(),
        there.join(" and "),
        ExportFormat::Numpy.name()
    )))
}

/// What neither of the others' formats has.
fn beyond(quantizer: &ResidualQuantizer) -> [(bool, &'static str); 5] {
    [
        (!quantizer.mean.is_empty(), "centring"),
        (!quantizer.scales.is_empty(), "scales"),
        (quantizer.normalize_rows, "rows of norm 1"),
        (quantizer.normalize_residuals, "normalised residuals"),
        (!quantizer.prices.is_empty(), "prices of balanced codewords"),
    ]
}

fn faiss(codec: &Codec, path: &Path) -> Result<Vec<Note>> {
    let q = codec.quantizer();
    let sizes = codec.codebook_sizes();
    let even = sizes.iter().all(|size| *size == sizes[0]);
    let mut found = beyond(q).to_vec();
    found.retain(|(_, what)| *what != "centring");
    let odd = sizes.iter().any(|size| !size.is_power_of_two());
    let wide = q.product && (!even || q.codebooks.iter().any(|book| book.dims() != q.codebooks[0].dims()));
    found.extend([
        (q.metric == Metric::Cosine, "cosine"),
        (q.encoder.is_some() || q.decoder.is_some(), "networks"),
        (!q.product && !q.components.is_empty(), "PCA"),
        (q.product && q.inner_dims() != q.dims, "PCA before the rotation"),
        (odd, "codebooks whose sizes are no powers of two"),
        (wide, "levels of different sizes or widths side by side"),
    ]);
    refuse(ExportFormat::Faiss, &found)?;
    let mut out = Out::default();
    let books = around_origin(q)?;
    let joined: Vec<f32> = books.iter().flat_map(Matrix::as_slice).copied().collect();
    let shape = [sizes.len(), sizes[0], q.codebooks[0].dims()];
    if q.product {
        out.put("pq_centroids", &shape, &joined);
        if !q.components.is_empty() {
            out.put("opq_rotation", &[q.dims, q.dims], &q.components);
        }
    } else if even {
        out.put("rq_codebooks", &shape, &joined);
    } else {
        books.iter().enumerate().for_each(|(l, book)| out.matrix(format!("rq_codebooks.{l}"), book));
    }
    out.write(path, None)?;
    let mut notes = told_beam(codec, "`max_beam_size`");
    notes.extend(told_centre(q));
    Ok(notes)
}

/// Codebooks for rows that are not centred: the mean, rotated as they are, is added to the codewords of the first level, or of each level to
/// its columns. O(p·d).
fn around_origin(q: &ResidualQuantizer) -> Result<Vec<Matrix>> {
    let mut books = q.codebooks.clone();
    if q.mean.is_empty() {
        return Ok(books);
    }
    let turned = |c: usize| match q.components.get(c * q.dims..(c + 1) * q.dims) {
        Some(component) => component.iter().zip(&q.mean).map(|(p, m)| f64::from(*p) * f64::from(*m)).sum(),
        None => f64::from(q.mean[c]),
    };
    let shift: Vec<f64> = (0..q.inner_dims()).map(turned).collect();
    let moved = if q.product { books.len() } else { 1 };
    for (level, book) in books.iter_mut().enumerate().take(moved) {
        let columns = &shift[q.columns(level)];
        let values = book.as_slice().chunks(columns.len()).flat_map(|codeword| codeword.iter().zip(columns));
        *book = Matrix::from_vec(book.rows(), book.dims(), values.map(|(c, m)| (f64::from(*c) + m) as f32).collect())?;
    }
    Ok(books)
}

/// What is said of a mean that became a part of codewords.
fn told_centre(q: &ResidualQuantizer) -> Option<Note> {
    let text = "the mean as a part of codewords, rounded to float32: rows between two codewords may get the other one";
    (!q.mean.is_empty()).then(|| Note::assumed(text))
}

/// What the other system has to be told of encoding.
fn told_beam(codec: &Codec, setting: &str) -> Vec<Note> {
    if codec.quantizer().product {
        return Vec::new();
    }
    let beam = codec.manifest().beam;
    vec![Note::left_out(format!("how many prefixes encoding keeps: set {setting} to {beam} for the same codes"))]
}

fn torch(codec: &Codec, path: &Path) -> Result<Vec<Note>> {
    let q = codec.quantizer();
    let mut found = beyond(q).to_vec();
    let steps = !(q.mean.is_empty() && q.scales.is_empty() && q.components.is_empty());
    let skips = networks_of(q).any(|mlp| mlp.skip);
    if q.encoder.is_some() && !skips {
        // The first and the last layer take them in.
        found.retain(|(_, what)| !matches!(*what, "centring" | "scales"));
    } else if q.encoder.is_none() {
        found.retain(|(_, what)| *what != "centring");
    }
    let networks = || networks_of(q);
    let layers = || networks().flat_map(|mlp| &mlp.layers);
    let last = |mlp: &Mlp| mlp.layers.last().is_some_and(|layer| layer.activation.is_some());
    let inner = |mlp: &Mlp| mlp.layers.iter().rev().skip(1).any(|layer| layer.activation != Some(Activation::Relu));
    found.extend([
        (!q.components.is_empty() && (q.encoder.is_none() || skips), "PCA or a rotation"),
        (q.product, "levels side by side"),
        (q.metric == Metric::Cosine, "cosine of codewords of any norm"),
        (layers().any(|layer| layer.norm.is_some()), "layer norm"),
        (networks().any(|mlp| inner(mlp) || last(mlp)), "other activations than ReLU between the layers"),
        (q.decoder.as_ref().is_some_and(|mlp| mlp.skip), "a skip connection around the decoder"),
    ]);
    refuse(ExportFormat::TorchSafetensors, &found)?;
    let mut out = Out::default();
    let (Some(encoder), Some(decoder)) = (&q.encoder, &q.decoder) else {
        for (l, book) in around_origin(q)?.iter().enumerate() {
            let name = |part: &str| format!("layers.{l}._codebook.{part}");
            let (k, d) = (book.rows(), book.dims());
            out.put(name("embed"), &[1, k, d], book.as_slice());
            // As after a training in which every codeword had one row.
            out.put(name("embed_avg"), &[1, k, d], book.as_slice());
            out.put(name("cluster_size"), &[1, k], &vec![1.0; k]);
            out.put(name("initted"), &[], &[1.0]);
        }
        out.write(path, None)?;
        let mut notes = told_beam(codec, "`eval_beam_size`");
        notes.push(Note::left_out("counts of codewords: they begin at 1, should training go on"));
        notes.extend(told_centre(q));
        return Ok(notes);
    };
    let (encoder, decoder) = (with_steps_before(encoder, q)?, with_steps_after(decoder, q)?);
    for (l, book) in q.codebooks.iter().enumerate() {
        out.matrix(format!("rq.vq_layers.{l}.embedding.weight"), book);
    }
    let inside = if encoder.skip { "encoder.mlp.mlp_layers" } else { "encoder.mlp_layers" };
    for (name, mlp) in [(inside, &encoder), ("decoder.mlp_layers", &decoder)] {
        for (j, layer) in mlp.layers.iter().enumerate() {
            // Dropout, linear, activation: three modules a layer.
            let name = |part: &str| format!("{name}.{}.{part}", 1 + 3 * j);
            out.matrix(name("weight"), &layer.weight);
            out.put(name("bias"), &[layer.bias.len()], &layer.bias);
        }
    }
    out.write(path, None)?;
    let mut notes = Vec::new();
    if codec.manifest().beam > 1 {
        let beam = codec.manifest().beam;
        notes.push(Note::left_out(format!(
            "the beam of {beam}: LC-Rec's code encodes greedily, so some codes will differ"
        )));
    }
    if steps {
        notes.push(Note::assumed(
            "preprocessing as a part of the first and the last layer, rounded to float32: rows between two codewords may get the other one",
        ));
    }
    Ok(notes)
}

fn networks_of(q: &ResidualQuantizer) -> impl Iterator<Item = &Mlp> {
    q.encoder.iter().chain(&q.decoder)
}

/// `W·S·P·(x − mean) + b` as one layer.
fn with_steps_before(mlp: &Mlp, q: &ResidualQuantizer) -> Result<Mlp> {
    let mut mlp = mlp.clone();
    let Some(first) = mlp.layers.first_mut() else { return Ok(mlp) };
    let (outputs, inner) = (first.weight.rows(), first.weight.dims());
    let mut weight = Vec::with_capacity(outputs * q.dims);
    for o in 0..outputs {
        let scale = |c: usize| q.scales.get(c).map_or(1.0, |s| f64::from(*s));
        let scaled: Vec<f64> = first.weight.row(o).iter().enumerate().map(|(c, w)| f64::from(*w) * scale(c)).collect();
        let mut row = vec![0.0f64; q.dims];
        if q.components.is_empty() {
            row.copy_from_slice(&scaled);
        } else {
            for (c, w) in scaled.iter().enumerate().take(inner) {
                let component = &q.components[c * q.dims..(c + 1) * q.dims];
                row.iter_mut().zip(component).for_each(|(sum, p)| *sum += w * f64::from(*p));
            }
        }
        let moved: f64 = row.iter().zip(&q.mean).map(|(w, m)| w * f64::from(*m)).sum();
        first.bias[o] = (f64::from(first.bias[o]) - moved) as f32;
        weight.extend(row.iter().map(|w| *w as f32));
    }
    first.weight = Matrix::from_vec(outputs, q.dims, weight)?;
    Ok(mlp)
}

/// `Pᵀ·S⁻¹·(W·h + b) + mean` as one layer.
fn with_steps_after(mlp: &Mlp, q: &ResidualQuantizer) -> Result<Mlp> {
    let mut mlp = mlp.clone();
    let Some(last) = mlp.layers.last_mut() else { return Ok(mlp) };
    let (inner, inputs) = (last.weight.rows(), last.weight.dims());
    let (mut weight, mut bias) = (vec![0.0f64; q.dims * inputs], vec![0.0f64; q.dims]);
    for c in 0..inner {
        let scale = q.scales.get(c).map_or(1.0, |s| f64::from(*s));
        for i in 0..q.dims {
            let share = match q.components.get(c * q.dims + i) {
                Some(p) => f64::from(*p) / scale,
                None if q.components.is_empty() && i == c => 1.0 / scale,
                None => continue,
            };
            let row = &mut weight[i * inputs..(i + 1) * inputs];
            row.iter_mut().zip(last.weight.row(c)).for_each(|(sum, w)| *sum += share * f64::from(*w));
            bias[i] += share * f64::from(last.bias[c]);
        }
    }
    bias.iter_mut().zip(&q.mean).for_each(|(b, m)| *b += f64::from(*m));
    last.weight = Matrix::from_vec(q.dims, inputs, weight.iter().map(|w| *w as f32).collect())?;
    last.bias = bias.iter().map(|b| *b as f32).collect();
    Ok(mlp)
}

fn numpy(codec: &Codec, path: &Path) -> Result<Vec<Note>> {
    let (q, m) = (codec.quantizer(), codec.manifest());
    let mut out = Out::default();
    let stored = if m.shared_codebook { 1 } else { q.codebooks.len() };
    q.codebooks[..stored].iter().enumerate().for_each(|(l, book)| out.matrix(format!("codebook_{l}"), book));
    for l in 0..q.codebooks.len() {
        let prices = q.prices(l);
        if !prices.is_empty() {
            out.put(format!("prices_{l}"), &[prices.len()], prices);
        }
    }
    for (name, values) in [("mean", &q.mean), ("scales", &q.scales)] {
        if !values.is_empty() {
            out.put(name, &[values.len()], values);
        }
    }
    if !q.components.is_empty() {
        out.put("components", &[q.inner_dims(), q.dims], &q.components);
    }
    let (norms, probes) = (codec.residual_norms(), codec.probes());
    if !norms.is_empty() {
        out.put("residual_norms", &[norms.len()], norms);
    }
    if probes.rows() > 0 {
        out.matrix("probes", probes);
    }
    for (name, mlp) in [("encoder", &q.encoder), ("decoder", &q.decoder)] {
        for (i, layer) in mlp.iter().flat_map(|mlp| &mlp.layers).enumerate() {
            let of = |part: &str| format!("{name}_{i}_{part}");
            let o = layer.weight.rows();
            out.matrix(of("weight"), &layer.weight);
            out.put(of("bias"), &[o], &layer.bias);
            if let Some((gain, bias)) = &layer.norm {
                out.put(of("norm_gain"), &[o], gain);
                out.put(of("norm_bias"), &[o], bias);
            }
        }
    }
    let metadata = NumpyMetadata {
        format: FORMAT.into(),
        version: 1,
        dims: q.dims,
        levels: q.codebooks.len(),
        metric: q.metric,
        normalize_rows: q.normalize_rows,
        mean_norm: m.mean_norm,
        normalize_residuals: q.normalize_residuals,
        beam: m.beam,
        shared_codebook: m.shared_codebook,
        product: q.product,
        encoder: m.encoder.clone(),
        decoder: m.decoder.clone(),
        codec: m.content_hash.clone(),
        method: m.method.clone(),
        seed: m.seed,
        config: m.config.clone(),
    };
    let text =
        serde_json::to_vec(&metadata).map_err(|e| Error::Codec(format!("its settings cannot be written: {e}")))?;
    out.write(path, Some(&text))?;
    Ok(Vec::new())
}
