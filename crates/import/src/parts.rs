//! What a system's reader gives, and the codec that it becomes.

use crate::imported::ImportOptions;
use crate::note::Note;
use crate::origin::Origin;
use sememe::codec::{Mlp, ResidualQuantizer};
use sememe::fit::Fitted;
use sememe::rng::stream;
use sememe::{Codec, Device, EncodeOptions, Error, Matrix, Result, TrainedBy};
use serde_json::{Map, Value, json};

/// Rows to measure networks on, as many as a codec keeps.
const PROBES: usize = 64;
/// Codewords in all that a codec of another system may have, and levels times codewords of a shared codebook.
const MAX_CODEWORDS: usize = 1 << 26;

/// A codec of another system, taken apart.
#[derive(Default)]
pub struct Parts {
    pub quantizer: ResidualQuantizer,
    /// Whether all levels have one codebook.
    pub shared: bool,
    /// What the file says of its training, for the manifest.
    pub settings: Map<String, Value>,
    pub notes: Vec<Note>,
    /// What only this project's own export knows.
    pub own: Option<Own>,
}

/// Figures that others do not keep.
pub struct Own {
    pub mean_norm: f32,
    pub residual_norms: Vec<f32>,
    pub beam: usize,
    pub probes: Matrix,
}

impl Parts {
    /// Codebooks of levels that follow one another, on rows as they are.
    pub fn residual(codebooks: Vec<Matrix>) -> Self {
        let dims = codebooks.first().map_or(0, Matrix::dims);
        Self { quantizer: ResidualQuantizer { dims, codebooks, ..ResidualQuantizer::default() }, ..Self::default() }
    }

    /// Codebooks of columns side by side.
    pub fn product(codebooks: Vec<Matrix>) -> Self {
        let dims = codebooks.iter().map(Matrix::dims).sum();
        let quantizer = ResidualQuantizer { dims, codebooks, product: true, ..ResidualQuantizer::default() };
        Self { quantizer, ..Self::default() }
    }

    /// With networks around the codebooks.
    pub fn with_networks(mut self, encoder: Option<Mlp>, decoder: Option<Mlp>) -> Self {
        if let Some(encoder) = &encoder {
            self.quantizer.dims = encoder.inputs();
        }
        (self.quantizer.encoder, self.quantizer.decoder) = (encoder, decoder);
        self
    }

    /// The codec.
    ///
    /// # Errors
    /// If the parts do not fit together, or an option means nothing for them.
    pub fn codec(mut self, origin: Origin, options: &ImportOptions) -> Result<(Codec, Vec<Note>)> {
        let levels = self.quantizer.codebooks.len();
        let codewords: usize = self.quantizer.codebooks.iter().map(Matrix::rows).sum();
        if codewords > MAX_CODEWORDS {
            return Err(Error::Data(format!("{codewords} codewords in all, at most {MAX_CODEWORDS} are taken")));
        }
        if options.beam.is_some_and(|beam| beam == 0 || beam > 64) {
            let got = options.beam.unwrap_or_default();
            return Err(Error::config("beam", format!("expected 1 to 64 prefixes, got {got}")));
        }
        let probes = self.probes(options)?;
        let own = self.own.take();
        let residual_norms = match &own {
            Some(own) => own.residual_norms.clone(),
            None if self.quantizer.normalize_residuals => {
                self.notes.push(Note::unknown(
                    "the mean norms of residuals: decoded rows are sums of codewords, as the system's own are, not at the rows' scale",
                ));
                vec![1.0; levels]
            }
            None => Vec::new(),
        };
        let mut settings = Map::from_iter([("from".to_owned(), json!(origin.name()))]);
        settings.append(&mut self.settings);
        let fitted = Fitted {
            mean_norm: own.as_ref().map_or(1.0, |own| own.mean_norm),
            residual_norms,
            beam: options.beam.or(own.map(|own| own.beam)).unwrap_or(1),
            shared_codebook: self.shared,
            probes,
            quantizer: self.quantizer,
            ..Fitted::default()
        };
        let beam = fitted.beam;
        let codec = Codec::from_fitted(fitted, TrainedBy::Elsewhere(&Value::Object(settings)))?;
        if beam > 1 {
            // What this codec's levels cannot do is said now.
            codec.encoder(&Device::cpu(), &EncodeOptions::default())?;
        }
        Ok((codec, self.notes))
    }

    /// Rows to measure an encoder's arithmetic on.
    fn probes(&mut self, options: &ImportOptions) -> Result<Matrix> {
        let given = &options.rows;
        if self.quantizer.encoder.is_none() {
            if given.rows() > 0 {
                let problem = "this codec has no networks, so there is nothing to measure on rows; leave them out";
                return Err(Error::config("rows", problem));
            }
            return Ok(Matrix::default());
        }
        let dims = self.quantizer.dims;
        if given.rows() == 0 {
            if let Some(own) = &self.own {
                return Ok(own.probes.clone());
            }
            self.notes.push(Note::assumed(format!(
                "{PROBES} random rows to measure devices' arithmetic on; rows like yours are better"
            )));
            return random_rows(dims);
        }
        sememe::check_shape("d", dims, given.dims(), "rows to measure on")?;
        let kept = given.rows().min(PROBES);
        let values = (0..kept).flat_map(|i| given.row(i * given.rows() / kept).to_vec()).collect();
        Matrix::from_vec(kept, dims, values)
    }
}

/// Half of them of norm 1, as many embeddings are, half with values of variance 1, as others are.
fn random_rows(dims: usize) -> Result<Matrix> {
    let mut rng = stream(0, "import.probes", 0);
    let mut values = Vec::with_capacity(PROBES * dims);
    for i in 0..PROBES {
        let row: Vec<f64> = (0..dims).map(|_| rng.normal()).collect();
        let norm = if i % 2 == 0 { row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-9) } else { 1.0 };
        values.extend(row.iter().map(|v| (v / norm) as f32));
    }
    Matrix::from_vec(PROBES, dims, values)
}
