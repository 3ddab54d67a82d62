//! Text out of tokens as they come, in whole characters.

use super::tokenizer::LanguageTokenizer;
use sememe::Result;

/// What a decoder writes for bytes that are no character, or not yet.
const UNKNOWN: char = '\u{fffd}';
/// Tokens that a character may be spread over.
const CHARACTER_TOKENS: usize = 4;
/// Tokens before a text that its decoding looks at: some decoders treat the first word of a text in their own way.
const CONTEXT_TOKENS: usize = 4;
/// Tokens that are decoded again with each new one, at most, unless they are no text yet.
const WINDOW_TOKENS: usize = 16;

/// Tokens whose text is still open, with some before them for context.
pub(super) struct TextPieces {
    window: Vec<u32>,
    /// Bytes of the window's text that were handed out.
    sent: usize,
    /// Tokens of the window up to the last place where its text ended with a whole character.
    whole: usize,
    skip_special: bool,
}

impl TextPieces {
    /// Begins behind a prompt.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn after(prompt: &[u32], tokenizer: &LanguageTokenizer, skip_special: bool) -> Result<Self> {
        let context = &prompt[prompt.len().saturating_sub(CONTEXT_TOKENS)..];
        let text = tokenizer.decode(context, skip_special)?;
        // A prompt that ends within a character has no text that another could follow.
        let (window, sent) = if text.ends_with(UNKNOWN) { (Vec::new(), 0) } else { (context.to_vec(), text.len()) };
        Ok(Self { whole: window.len(), window, sent, skip_special })
    }

    /// What one more token adds: whole characters only. O(tokens that are open).
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn push(&mut self, token: u32, tokenizer: &LanguageTokenizer) -> Result<String> {
        self.window.push(token);
        let text = tokenizer.decode(&self.window, self.skip_special)?;
        let open = self.window.len() - self.whole;
        // Bytes that stay unknown for longer than a character takes are none; only the last ones may become one.
        let most = if open <= CHARACTER_TOKENS { usize::MAX } else { CHARACTER_TOKENS - 1 };
        let held: usize = text.chars().rev().take(most).take_while(|c| *c == UNKNOWN).map(char::len_utf8).sum();
        let end = text.len() - held;
        let piece = text.get(self.sent..end).unwrap_or_default().to_owned();
        self.sent = self.sent.max(end);
        if held == 0 {
            if self.window.len() > WINDOW_TOKENS {
                self.window.drain(..self.whole);
                self.sent = tokenizer.decode(&self.window, self.skip_special)?.len();
            }
            self.whole = self.window.len();
        }
        Ok(piece)
    }

    /// What is left, though its last bytes may be no character.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn rest(&mut self, tokenizer: &LanguageTokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.window, self.skip_special)?;
        let rest = text.get(self.sent..).unwrap_or_default().to_owned();
        self.sent = text.len();
        Ok(rest)
    }
}

/// Text that is handed out once it is certain that no stop text begins in it.
pub(super) struct StopTexts {
    stops: Vec<String>,
    held: String,
}

impl StopTexts {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// What may be handed out after a piece, and whether a stop text came, which ends it. O(held + piece) a stop text.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let open = self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(open);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is left at the end of a text.
    pub fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LanguageModel;

    fn tokenizer() -> LanguageTokenizer {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/llama");
        LanguageModel::load(folder).expect("a model").tokenizer().clone()
    }

    /// The pieces of a text, and the text.
    fn pieces(prompt: &[u32], tokens: &[u32], tokenizer: &LanguageTokenizer) -> Vec<String> {
        let mut pieces = TextPieces::after(prompt, tokenizer, true).expect("a beginning");
        let mut out: Vec<String> = tokens.iter().map(|t| pieces.push(*t, tokenizer).expect("a piece")).collect();
        out.push(pieces.rest(tokenizer).expect("a rest"));
        out
    }

    #[test]
    fn characters_are_never_cut() {
        let tokenizer = tokenizer();
        let text = "Größe: 漢字 👩‍🚀 naïve, und so weiter in einem langen Satz — mit Ende…";
        let tokens = tokenizer.encode(text, false).expect("tokens");
        assert!(tokens.len() > 2 * WINDOW_TOKENS, "uninformative");
        let out = pieces(&[], &tokens, &tokenizer);
        assert!(out.iter().all(|piece| !piece.contains(UNKNOWN)), "{out:?}");
        assert!(out.iter().filter(|piece| piece.is_empty()).count() > 5, "no character was spread over tokens");
        let whole = tokenizer.decode(&tokens, true).expect("a text");
        assert_eq!(out.concat(), whole);
        for cut in 1..tokens.len() {
            let before = tokenizer.decode(&tokens[..cut], true).expect("a text");
            let after = pieces(&tokens[..cut], &tokens[cut..], &tokenizer).concat();
            if !before.ends_with(UNKNOWN) {
                assert_eq!(before + &after, whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_come_out_too() {
        let tokenizer = tokenizer();
        // Single bytes, most of them no characters.
        let tokens: Vec<u32> = (0..400u32).map(|i| 100 + (i * 37) % 150).collect();
        let out = pieces(&[], &tokens, &tokenizer);
        assert_eq!(out.concat(), tokenizer.decode(&tokens, true).expect("a text"));
        let longest_wait = out.split(|piece| !piece.is_empty()).map(<[String]>::len).max();
        assert!(longest_wait.is_some_and(|wait| wait <= 2 * CHARACTER_TOKENS), "{longest_wait:?}");
    }

    #[test]
    fn stop_texts_are_found_across_pieces() {
        let said = |stops: &[&str], pieces: &[&str]| {
            let mut stop = StopTexts::new(stops.iter().map(|s| (*s).to_owned()).collect());
            let mut out: Vec<String> = Vec::new();
            for piece in pieces {
                let (text, over) = stop.push(piece);
                out.push(text);
                if over {
                    return (out, true);
                }
            }
            out.push(stop.rest());
            (out, false)
        };
        let strings = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(said(&["END"], &["ab", "E", "N", "Dx"]), (strings(&["ab", "", "", ""]), true));
        assert_eq!(said(&["END"], &["abE", "Nx"]), (strings(&["ab", "ENx", ""]), false));
        assert_eq!(said(&["END"], &["abEN"]), (strings(&["ab", "EN"]), false));
        assert_eq!(said(&["\n\n", "ö!"], &["a\n", "bö", "!c"]), (strings(&["a", "\nb", ""]), true));
        assert_eq!(said(&[], &["a", "b"]), (strings(&["a", "b", ""]), false));
    }
}
