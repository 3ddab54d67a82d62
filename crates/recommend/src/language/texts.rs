//! Texts that are being written side by side, each a token further at a time.

use super::generation::{GeneratedText, NamedInText, TextEnd, TextIds, TextOptions, TextStep};
use super::recommender::LanguageRecommender;
use super::speaker::IdSpeaker;
use super::text_pieces::{StopTexts, TextPieces};
use crate::decoding::{BeamStep, log_sum};
use sememe::ids::Trie;
use sememe::ids::trie::Node;
use sememe::rng::{Stream, stream};
use sememe::{Error, Result};
use std::collections::VecDeque;

/// Texts that are written side by side; others wait.
const MOST_TEXTS: usize = 32;

/// All texts of a session.
#[derive(Default)]
pub(super) struct Texts {
    running: Vec<RunningText>,
    waiting: VecDeque<(Vec<u32>, RunningText)>,
    /// Number of the next one.
    next: u64,
    /// Beams that the speaker holds.
    held: usize,
}

impl Texts {
    /// Texts that are not finished.
    pub fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// Adds a text after a prompt that the model can read, and returns its number.
    ///
    /// # Errors
    /// Options that cannot be; a tokenizer that fails.
    pub fn begin(&mut self, prompt: &[u32], options: &TextOptions, recommender: &LanguageRecommender) -> Result<u64> {
        let text = RunningText::new(self.next, prompt, options, recommender)?;
        self.waiting.push_back((prompt.to_vec(), text));
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Wants no more of a text; what there is of it.
    pub fn cut(&mut self, number: u64) -> Option<GeneratedText> {
        if let Some(at) = self.running.iter().position(|text| text.number == number) {
            return Some(self.running.remove(at).finished(TextEnd::Cut));
        }
        let at = self.waiting.iter().position(|(_, text)| text.number == number)?;
        self.waiting.remove(at).map(|(_, text)| text.finished(TextEnd::Cut))
    }

    /// Takes all texts a token further, and begins those that wait with up to `most` tokens of prompts.
    ///
    /// # Errors
    /// Logits that are NaN; device errors. All texts are over then.
    pub fn advance(
        &mut self,
        speaker: &mut dyn IdSpeaker,
        recommender: &LanguageRecommender,
        most: usize,
    ) -> Result<Vec<TextStep>> {
        let done = self.try_advance(speaker, recommender, most);
        if done.is_err() {
            self.running.clear();
            self.waiting.clear();
        }
        done
    }

    fn try_advance(
        &mut self,
        speaker: &mut dyn IdSpeaker,
        recommender: &LanguageRecommender,
        most: usize,
    ) -> Result<Vec<TextStep>> {
        let width = recommender.model().shape().vocabulary;
        let mut out = Vec::with_capacity(self.len());
        if !self.running.is_empty() {
            let steps: Vec<BeamStep> = self.running.iter().map(RunningText::step).collect();
            let length = self.running.iter().map(|text| text.prompt + text.tokens.len()).max().unwrap_or(0);
            let logits = speaker.go_on_with_texts(&steps, length)?;
            self.held = steps.len();
            for (beam, (text, logits)) in self.running.iter_mut().zip(logits.chunks_exact(width)).enumerate() {
                text.beam = beam;
                out.push(text.advance(logits, recommender)?);
            }
        }
        let (mut prompts, mut tokens) = (Vec::new(), 0);
        let before = self.running.len();
        while let Some((prompt, _)) = self.waiting.front() {
            tokens += prompt.len();
            if tokens > most || self.running.len() >= MOST_TEXTS {
                break;
            }
            let Some((prompt, text)) = self.waiting.pop_front() else { break };
            prompts.push(prompt);
            self.running.push(text);
        }
        if !prompts.is_empty() {
            let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let fresh = before == 0;
            let logits = speaker.join_texts(&prompts, fresh)?;
            let first = if fresh { 0 } else { self.held };
            self.held = first + prompts.len();
            for (i, (text, logits)) in self.running[before..].iter_mut().zip(logits.chunks_exact(width)).enumerate() {
                text.beam = first + i;
                out.push(text.advance(logits, recommender)?);
            }
        }
        let over: Vec<u64> = out.iter().filter(|step| step.finished.is_some()).map(|step| step.text).collect();
        self.running.retain(|text| !over.contains(&text.number));
        Ok(out)
    }
}

/// An ID that has begun.
#[derive(Clone, Copy)]
struct OpenId {
    node: Node,
    /// Tokens of the text that stand before it.
    from: usize,
    log_probability: f64,
}

/// One text.
struct RunningText {
    number: u64,
    /// Its place among the speaker's beams.
    beam: usize,
    /// Tokens of its prompt.
    prompt: usize,
    options: TextOptions,
    /// Tokens that end it.
    ends: Vec<u32>,
    /// Tokens at most, with room for an ID behind them.
    most: usize,
    random: Stream,
    tokens: Vec<u32>,
    text: String,
    pieces: TextPieces,
    stop: StopTexts,
    id: Option<OpenId>,
    ids: Vec<NamedInText>,
}

impl RunningText {
    fn new(number: u64, prompt: &[u32], options: &TextOptions, recommender: &LanguageRecommender) -> Result<Self> {
        options.validate()?;
        let (model, trie) = (recommender.model(), recommender.trie());
        let own = if options.ignore_end { &[] } else { model.end_tokens() };
        // The last token is not read, so it needs no position.
        let room = (model.shape().decoder.positions + 1).saturating_sub(prompt.len());
        let kept = if options.ids == TextIds::Free { 0 } else { trie.depth() + 1 };
        let id = (options.ids == TextIds::Only).then_some(OpenId { node: Trie::ROOT, from: 0, log_probability: 0.0 });
        Ok(Self {
            number,
            beam: 0,
            prompt: prompt.len(),
            ends: own.iter().chain(&options.stop_tokens).copied().collect(),
            most: options.most_tokens.min(room.saturating_sub(kept)).max(1),
            random: stream(options.sampling.map_or(0, |sampling| sampling.seed), "recommend.text", 0),
            tokens: Vec::new(),
            text: String::new(),
            pieces: TextPieces::after(prompt, model.tokenizer(), !options.show_special)?,
            stop: StopTexts::new(options.stop_texts.clone()),
            id,
            ids: Vec::new(),
            options: options.clone(),
        })
    }

    /// How the decoder goes on with it.
    fn step(&self) -> BeamStep {
        BeamStep { from: self.beam, token: self.tokens.last().copied().unwrap_or(0) }
    }

    /// Takes one more token by its logits.
    fn advance(&mut self, logits: &[f32], recommender: &LanguageRecommender) -> Result<TextStep> {
        let tokenizer = recommender.model().tokenizer();
        let (token, log_probability) = self.choose(logits, recommender.trie())?;
        let before = self.tokens.len();
        let mut over = match self.id.take() {
            Some(id) => self.in_id(id, token, log_probability, recommender),
            None => self.in_text(token, recommender)?,
        };
        let mut new = String::new();
        for token in self.tokens[before..].iter().copied() {
            new.push_str(&self.pieces.push(token, tokenizer)?);
        }
        let bound = self.tokens.len() >= self.most && self.id.is_none();
        if over || bound {
            new.push_str(&self.pieces.rest(tokenizer)?);
        }
        let (mut piece, stopped) = self.stop.push(&new);
        over |= stopped;
        if (over || bound) && !stopped {
            piece.push_str(&self.stop.rest());
        }
        self.text.push_str(&piece);
        let end = if over { TextEnd::Ended } else { TextEnd::MostTokens };
        let finished = (over || bound).then(|| self.take_finished(end));
        Ok(TextStep { text: self.number, piece, finished })
    }

    /// Goes on with an ID; whether the text is over.
    fn in_id(&mut self, mut id: OpenId, token: u32, log_probability: f64, recommender: &LanguageRecommender) -> bool {
        let trie = recommender.trie();
        let only = self.options.ids == TextIds::Only;
        // IDs without an end of their own are ended by what ends texts: that is not said before the text is over.
        let silent = recommender.model().end_tokens().contains(&trie.end()) || self.ends.contains(&trie.end());
        id.log_probability += log_probability;
        if token == trie.end() {
            self.end_id(id, trie);
            let over = only || self.ends.contains(&token);
            // What the text goes on from has to be read.
            if !silent || !over {
                self.tokens.push(token);
            }
            return over;
        }
        self.tokens.push(token);
        id.node = trie.child(id.node, token).unwrap_or(id.node);
        if trie.ways(id.node).next().is_some() || !(only || silent) {
            self.id = Some(id);
            return false;
        }
        // Nothing but its end can follow.
        self.end_id(id, trie);
        if only && !silent {
            self.tokens.push(trie.end());
        }
        only
    }

    fn end_id(&mut self, id: OpenId, trie: &Trie) {
        let tokens = self.tokens[id.from..].to_vec();
        let (items, log_probability) = (trie.items_at(id.node), id.log_probability);
        self.ids.push(NamedInText { id: tokens, items, log_probability, tokens_before: id.from });
    }

    /// Goes on with free text; whether the text is over.
    fn in_text(&mut self, token: u32, recommender: &LanguageRecommender) -> Result<bool> {
        if self.ends.contains(&token) {
            return Ok(true);
        }
        self.tokens.push(token);
        if let TextIds::After(marker) = &self.options.ids {
            // A token has at least one byte of the marker.
            let first = self.tokens.len().saturating_sub(marker.len() + 1);
            let said = recommender.model().tokenizer().decode(&self.tokens[first..], false)?;
            if said.ends_with(marker.as_str()) {
                self.id = Some(OpenId { node: Trie::ROOT, from: self.tokens.len(), log_probability: 0.0 });
            }
        }
        Ok(false)
    }

    /// A token, and the logarithm of its probability among those that can follow; of free text that is not known.
    fn choose(&mut self, logits: &[f32], trie: &Trie) -> Result<(u32, f64)> {
        let mut allowed = Vec::new();
        if let Some(id) = &self.id {
            trie.next_into(id.node, &mut allowed);
        }
        let among: Vec<f32> = allowed.iter().map(|token| logits[*token as usize]).collect();
        let values = if self.id.is_some() { &among[..] } else { logits };
        let best = (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a)));
        // NaN is above all numbers.
        let Some(best) = best.filter(|best| values[*best].is_finite()) else {
            let written = self.tokens.len();
            return Err(Error::Data(format!(
                "the logits of what may follow {written} tokens of a text are NaN or infinite: the model is damaged"
            )));
        };
        let place = match &self.options.sampling {
            None => best,
            Some(sampling) => {
                let logs: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                let counts = sampling.draw(&logs, 1, &mut self.random);
                counts.iter().position(|count| *count > 0).unwrap_or(best)
            }
        };
        match allowed.get(place) {
            Some(token) => Ok((*token, f64::from(values[place]) - log_sum(values))),
            None => Ok((place as u32, 0.0)),
        }
    }

    fn take_finished(&mut self, end: TextEnd) -> GeneratedText {
        let (text, tokens) = (std::mem::take(&mut self.text), std::mem::take(&mut self.tokens));
        GeneratedText { text, tokens, ids: std::mem::take(&mut self.ids), end }
    }

    fn finished(mut self, end: TextEnd) -> GeneratedText {
        self.take_finished(end)
    }
}
