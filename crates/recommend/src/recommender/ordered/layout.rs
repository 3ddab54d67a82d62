//! Where the parameters of ordered prediction lie, and what they are at the start.

use super::codes::ItemTokens;
use crate::decoder::{DecoderLayout, DecoderShape, ParameterRun};
use crate::recommender::items::ItemSources;
use crate::recommender::settings::RecommenderSettings;
use sememe::rng::stream;
use sememe::{Codes, Error, Result};

/// The most levels of an ID: what a trie holds.
const LEVELS: usize = 255;

/// Places of all parameters in one tensor: the decoder's, then those of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderedLayout {
    pub decoder: DecoderLayout,
    pub dims: usize,
    pub levels: usize,
    /// `[tokens, dims]`: a vector for every code of every level.
    pub codes: usize,
    /// How many tokens there are.
    pub tokens: usize,
    /// `[levels, dims]`: a vector for every place in an ID.
    pub places: usize,
    /// `[dims, t]` for vectors of t values, and t.
    pub map: Option<(usize, usize)>,
    end: usize,
}

impl OrderedLayout {
    /// Of items with these sources.
    ///
    /// # Errors
    /// [`Error::Config`] for sources that cannot be read code by code, or sizes that do not fit.
    pub fn new(settings: &RecommenderSettings, sources: &ItemSources) -> Result<Self> {
        let (shape, tokens) = (shape(settings, sources)?, ItemTokens::new(codes(sources)?)?);
        let decoder = DecoderLayout::new(&shape, 0);
        let mut next = decoder.end;
        let mut take = |len: usize| {
            next += len;
            next - len
        };
        let (dims, levels) = (shape.dims, tokens.levels);
        let (codes, places) = (take(tokens.count() * dims), take(levels * dims));
        let map = sources.vectors.as_ref().map(|v| (take(dims * v.dims()), v.dims()));
        Ok(Self { decoder, dims, levels, codes, tokens: tokens.count(), places, map, end: next })
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.end
    }

    /// Parameters at the start of a training.
    pub fn initialise(&self, settings: &RecommenderSettings, shape: &DecoderShape) -> Vec<f32> {
        let mut params = vec![0.0; self.len()];
        let mut random = stream(settings.seed, "recommend.init", 0);
        self.decoder.initialise(shape, &mut random, &mut params);
        // The first logits should say nothing.
        params[self.decoder.end..].iter_mut().for_each(|v| *v = (settings.item_deviation * random.normal()) as f32);
        params
    }

    /// Runs of parameters, ascending, without gaps, and whether they are matrices, which decay.
    pub fn runs(&self, shape: &DecoderShape) -> Vec<ParameterRun> {
        let mut matrices = self.decoder.decaying(shape);
        matrices.extend(self.map.map(|(at, t)| (at, self.dims * t)));
        ParameterRun::split(&matrices, self.len())
    }
}

/// The decoder that reads the codes of histories: it reaches over `positions` items and the one that follows.
///
/// # Errors
/// As for [`OrderedLayout::new`].
pub(crate) fn shape(settings: &RecommenderSettings, sources: &ItemSources) -> Result<DecoderShape> {
    let levels = codes(sources)?.levels();
    let positions = settings.positions.saturating_add(1).saturating_mul(levels);
    let shape = DecoderShape { positions, ..settings.shape() };
    shape.validate()?;
    if settings.batch_tokens < positions {
        return Err(Error::config(
            "batch_tokens",
            format!(
                "expected at least {positions}, as a history of `positions` ({}) items and the next one, each with {levels} codes, has \
                 to fit, got {}",
                settings.positions, settings.batch_tokens
            ),
        ));
    }
    Ok(shape)
}

/// The codes, if they are all that items are told apart by.
fn codes(sources: &ItemSources) -> Result<&Codes> {
    if sources.identities {
        let problem = "ordered prediction reads and writes codes, and identities are none; leave them out";
        return Err(Error::config("identities", problem));
    }
    if sources.prefixes {
        let problem =
            "ordered prediction reads an ID code by code, so there are no vectors of prefixes; leave them out";
        return Err(Error::config("prefixes", problem));
    }
    let Some(codes) = &sources.codes else {
        return Err(Error::config("codes", "ordered prediction writes IDs code by code, and there are none"));
    };
    if codes.levels() > LEVELS {
        let problem = format!("ordered prediction takes IDs of at most {LEVELS} levels, got {}", codes.levels());
        return Err(Error::config("codes", problem));
    }
    Ok(codes)
}
