//! A session that writes texts.

use super::generation::{GeneratedText, TextOptions, TextStep};
use super::session::LanguageSession;
use sememe::{Error, Result};
use std::collections::HashMap;
use std::ops::ControlFlow;

impl LanguageSession<'_> {
    /// Writes a text after each prompt, side by side, and hands out each new piece of one with its place among the prompts; a text is cut
    /// short where `each` breaks. Greedy texts are those of transformers. O(tokens·(parameters + Σ tokens before·width)).
    ///
    /// ```
    /// use sememe::Device;
    /// use sememe_recommend::{LanguageRecommender, Precision, TextOptions};
    /// use std::ops::ControlFlow;
    ///
    /// # fn write(recommender: &LanguageRecommender) -> sememe::Result<()> {
    /// let mut session = recommender.session(&Device::cpu(), Precision::F32, 20)?;
    /// let prompt = recommender.model().tokenizer().encode("once upon a time", true)?;
    /// let mut pieces = String::new();
    /// let texts = session.generate(&[&prompt], &TextOptions::default(), &mut |_, piece| {
    ///     pieces.push_str(piece);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(texts[0].text, pieces);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`begin_text`](Self::begin_text) and [`advance_texts`](Self::advance_texts); [`Error::Data`] while other texts are being
    /// written.
    pub fn generate(
        &mut self,
        prompts: &[&[u32]],
        options: &TextOptions,
        each: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<GeneratedText>> {
        let running = self.texts();
        if running > 0 {
            return Err(Error::Data(format!("the session is writing {running} texts; finish them first")));
        }
        for (number, prompt) in prompts.iter().enumerate() {
            self.check_prompt(number, prompt)?;
        }
        let numbers = prompts.iter().map(|prompt| self.begin_text(prompt, options)).collect::<Result<Vec<u64>>>()?;
        let places: HashMap<u64, usize> = numbers.iter().enumerate().map(|(place, number)| (*number, place)).collect();
        let mut out: Vec<Option<GeneratedText>> = vec![None; prompts.len()];
        while self.texts() > 0 {
            for TextStep { text, piece, finished } in self.advance_texts()? {
                let Some(place) = places.get(&text) else { continue };
                let wants = if piece.is_empty() { ControlFlow::Continue(()) } else { each(*place, &piece) };
                out[*place] = match (finished, wants) {
                    (None, ControlFlow::Break(())) => self.stop_text(text),
                    (finished, _) => finished,
                };
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// Begins a text after a prompt, beside those that are being written already, and returns its number. Nothing is read before
    /// [`advance_texts`](Self::advance_texts).
    ///
    /// # Errors
    /// [`Error::Data`] for an empty prompt or one that is longer than the model reads; as [`TextOptions::validate`].
    pub fn begin_text(&mut self, prompt: &[u32], options: &TextOptions) -> Result<u64> {
        self.check_prompt(0, prompt)?;
        self.texts.begin(prompt, options, self.recommender)
    }

    /// Takes each text a token further: what is new of it. Texts that have begun since the last call are read. Questions may be
    /// [asked](Self::recommend) in between. O(texts·(parameters + tokens before·width)).
    ///
    /// # Errors
    /// [`Error::Data`] for logits that are no numbers; device errors. No text goes on then.
    pub fn advance_texts(&mut self) -> Result<Vec<TextStep>> {
        self.texts.advance(self.speaker.as_mut(), self.recommender, self.longest)
    }

    /// Ends a text: what there is of it, if it was not finished.
    pub fn stop_text(&mut self, number: u64) -> Option<GeneratedText> {
        self.texts.cut(number)
    }

    /// Texts that are not finished.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    fn check_prompt(&self, number: usize, prompt: &[u32]) -> Result<()> {
        let (got, most) = (prompt.len(), self.longest);
        if prompt.is_empty() || got > most {
            return Err(Error::Data(format!("prompt {number} has {got} tokens, expected 1 to {most}")));
        }
        let known = self.recommender.model().shape().vocabulary;
        match prompt.iter().find(|token| **token as usize >= known) {
            Some(token) => {
                Err(Error::Data(format!("prompt {number} names token {token}, past the {known} of the model")))
            }
            None => Ok(()),
        }
    }
}
