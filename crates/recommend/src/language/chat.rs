//! Chats to text, by a model's own template: Jinja, as transformers renders it.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, ErrorKind};
use sememe_text::dialogues::ChatMessage;

use super::clock::ClockTime;
use super::python_json::tojson;
use sememe::{Error, Result};

/// The longest that are in use have some tens of thousands of characters.
const MOST_TEMPLATE_BYTES: usize = 1 << 20;
/// Steps that a template may take, each of which may make 64 bytes: enough for any real one, and an end for those that loop.
const FUEL: u64 = 250_000;
/// Further steps for each byte of a chat.
const FUEL_A_BYTE: u64 = 16;
/// Bytes that a message counts as beside its text.
const MESSAGE_BYTES: usize = 256;
const NAME: &str = "chat";

/// What a chat template is told beside the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// Ends the text where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// A JSON list of tools, as `tools`.
    pub tools: Option<String>,
    /// A JSON list of documents, as `documents`.
    pub documents: Option<String>,
    /// A JSON object of variables of the template's own, such as `{"enable_thinking": false}`.
    pub variables: Option<String>,
    /// The seconds since 1970 that templates take the date from, in the zone that they shall name; without it the system's clock, in UTC.
    pub now: Option<u64>,
}

/// A chat template, ready to be rendered.
///
/// It sees what transformers shows it: Jinja's filters and tests, the methods of Python's texts, lists and dictionaries, `raise_exception`,
/// `strftime_now`, `tojson`, `break` and `continue`, and the texts of special tokens. It reaches no file, and its steps and memory are
/// bounded.
///
/// ```
/// use sememe_recommend::{ChatMessage, ChatOptions, ChatTemplate};
/// let text = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}\n{% endfor %}";
/// let template = ChatTemplate::new(text, &[("eos_token".into(), "</s>".into())].into())?;
/// let chat = [ChatMessage::new("user", " Hello? ")];
/// assert_eq!(template.render(&chat, &ChatOptions::default())?, "[user] Hello?</s>\n");
/// # Ok::<(), sememe::Error>(())
/// ```
#[derive(Clone)]
pub struct ChatTemplate {
    text: String,
    environment: Environment<'static>,
    specials: BTreeMap<String, String>,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("text", &self.text).field("specials", &self.specials).finish()
    }
}

impl ChatTemplate {
    /// Parses a template. `specials` are variables such as `bos_token`, by name. O(length).
    ///
    /// # Errors
    /// [`Error::Data`] for what is no template, with the line, and for one of more than 1 MiB.
    pub fn new(text: &str, specials: &BTreeMap<String, String>) -> Result<Self> {
        if text.len() > MOST_TEMPLATE_BYTES {
            let problem = format!("has {} bytes, expected at most {MOST_TEMPLATE_BYTES}", text.len());
            return Err(Error::Data(format!("the chat template {problem}")));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| failed("cannot be read", &e))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_template_owned(NAME, without_generation_tags(text)).map_err(|e| failed("is not valid", &e))?;
        Ok(Self { text: text.to_owned(), environment, specials: specials.clone() })
    }

    /// The template's own text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a chat.
    ///
    /// # Errors
    /// [`Error::Data`] with the template's own words where it refuses the chat, and for a template that cannot be rendered or does not end;
    /// [`Error::Config`] for options that are not the JSON they should be.
    pub fn render(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<String> {
        let size = messages.iter().map(|m| m.role.len() + m.content.len() + MESSAGE_BYTES).sum();
        let fields = |m: &ChatMessage| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]);
        self.render_values(messages.iter().map(fields).collect(), size, options)
    }

    /// The text of a chat that is a JSON list of messages with any fields, such as `tool_calls`.
    ///
    /// # Errors
    /// As [`render`](Self::render), and for what is no list of objects.
    pub fn render_json(&self, messages: &str, options: &ChatOptions) -> Result<String> {
        let listed = parsed("messages", messages, ValueKind::Seq, "a list of messages")?;
        let mut list = Vec::new();
        let size = messages.len() + MESSAGE_BYTES * listed.len().unwrap_or(0);
        for message in listed.try_iter().map_err(|e| failed("cannot read the messages", &e))? {
            list.push(as_transformers(&message)?);
        }
        self.render_values(Value::from(list), size, options)
    }

    fn render_values(&self, messages: Value, size: usize, options: &ChatOptions) -> Result<String> {
        let mut environment = self.environment.clone();
        let more = [&options.tools, &options.documents, &options.variables].into_iter().flatten().map(String::len);
        environment.set_fuel(Some(FUEL + FUEL_A_BYTE * (size + more.sum::<usize>()) as u64));
        let now = options.now;
        environment.add_function("strftime_now", move |format: &str| {
            let clock =
                || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
            let unknown = |what| {
                minijinja::Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know `{what}`"))
            };
            ClockTime::of(now.unwrap_or_else(clock)).format(format).map_err(unknown)
        });
        let list = |field: &str, json: &Option<String>| match json {
            Some(json) => parsed(field, json, ValueKind::Seq, "a list"),
            None => Ok(Value::from(())),
        };
        let mut context: Vec<(String, Value)> =
            self.specials.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        context.push(("tools".into(), list("tools", &options.tools)?));
        context.push(("documents".into(), list("documents", &options.documents)?));
        context.push(("add_generation_prompt".into(), options.add_generation_prompt.into()));
        if let Some(json) = &options.variables {
            let variables = parsed("variables", json, ValueKind::Map, "an object of variables")?;
            context.extend(pairs(&variables)?);
        }
        context.push(("messages".into(), messages));
        let template = environment.get_template(NAME).map_err(|e| failed("is not valid", &e))?;
        template.render(Value::from_pairs(context)).map_err(|e| failed("cannot be rendered", &e))
    }
}

/// The names and values of an object.
fn pairs(object: &Value) -> Result<Vec<(String, Value)>> {
    let broken = |e: minijinja::Error| failed("cannot read its variables", &e);
    let mut out = Vec::new();
    for key in object.try_iter().map_err(broken)? {
        out.push((key.to_string(), object.get_item(&key).map_err(broken)?));
    }
    Ok(out)
}

/// A message as transformers hands it to templates: without fields that are null, and with reasoning under its three names.
fn as_transformers(message: &Value) -> Result<Value> {
    if message.kind() != ValueKind::Map {
        return Err(Error::Data(format!("expected each message to be an object, got a {}", message.kind())));
    }
    let mut fields: Vec<(String, Value)> = pairs(message)?.into_iter().filter(|(_, value)| !value.is_none()).collect();
    let find = |fields: &[(String, Value)], name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let reasoning = ["reasoning_content", "thinking", "reasoning"].into_iter().find_map(|name| find(&fields, name));
    if let Some(reasoning) = reasoning {
        if find(&fields, "thinking").is_none() {
            fields.insert(0, ("thinking".into(), reasoning.clone()));
        }
        fields.retain(|(name, _)| name != "reasoning_content");
        fields.push(("reasoning_content".into(), reasoning));
    }
    Ok(Value::from_pairs(fields))
}

fn parsed(field: &str, json: &str, kind: ValueKind, expected: &str) -> Result<Value> {
    let value: Value =
        serde_json::from_str(json).map_err(|e| Error::config(field, format!("expected JSON, {expected}: {e}")))?;
    match value.kind() == kind {
        true => Ok(value),
        false => Err(Error::config(field, format!("expected {expected}, got a {}", value.kind()))),
    }
}

fn failed(what: &str, error: &minijinja::Error) -> Error {
    let place = error.line().map_or(String::new(), |line| format!(", line {line}"));
    let kind = error.kind();
    let detail = error.detail().unwrap_or_default();
    Error::Data(match kind {
        ErrorKind::OutOfFuel => {
            format!("the chat template{place}: takes more steps or memory than any for a chat of this length needs")
        }
        ErrorKind::InvalidOperation => format!("the chat template{place}: {detail}"),
        _ if detail.is_empty() => format!("the chat template {what}{place}: {kind}"),
        _ => format!("the chat template {what}{place}: {kind}: {detail}"),
    })
}

/// The template with `{% generation %}`, which marks what an assistant says and changes nothing in the text, as a block without names.
fn without_generation_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let inner = tag.trim_start_matches(['-', '+']).trim_start();
        let swapped = [("endgeneration", "endwith"), ("generation", "with")].into_iter().find_map(|(name, plain)| {
            let after = inner.strip_prefix(name)?;
            after.trim_start().trim_start_matches(['-', '+']).starts_with("%}").then_some((plain, after))
        });
        rest = match swapped {
            Some((plain, after)) => {
                out.push_str(&tag[..tag.len() - inner.len()]);
                out.push_str(plain);
                after
            }
            None => tag,
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, messages: &str, options: &ChatOptions) -> Result<String> {
        ChatTemplate::new(template, &BTreeMap::new())?.render_json(messages, options)
    }

    fn plain(template: &str) -> Result<String> {
        rendered(template, "[]", &ChatOptions::default())
    }

    #[test]
    fn templates_that_do_not_end_are_stopped() {
        for endless in [
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 10000000000 }}",
            "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
            "{% set ns = namespace(s=1) %}{% set ns.s = ns %}{{ ns | tojson }}",
        ] {
            let error = plain(endless).expect_err(endless).to_string();
            assert!(error.contains("chat template"), "{error}");
        }
        let long = "x".repeat(MOST_TEMPLATE_BYTES + 1);
        assert!(plain(&long).expect_err("refused").to_string().contains("at most 1048576"));
    }

    #[test]
    fn the_template_speaks_for_itself() {
        let error = plain("a\n{{ raise_exception('only two roles') }}").expect_err("refused").to_string();
        assert_eq!(error, "the chat template, line 2: only two roles");
        let error = plain("{% if %}").expect_err("refused").to_string();
        assert!(error.contains("the chat template is not valid, line 1"), "{error}");
        assert!(plain("{{ x.y.z }}").is_err(), "an attribute of nothing");
        assert_eq!(plain("[{{ x }}{{ messages.x }}]").expect("nothing is printed as nothing"), "[]");
    }

    #[test]
    fn generation_marks_change_nothing() {
        let marked = "a\n  {%- generation %}\n b {% set x = 1 %}{% endgeneration -%}\n c{{ x }}";
        assert_eq!(plain(marked).expect("rendered"), "a b c");
    }

    #[test]
    fn options_are_variables() {
        let options = ChatOptions {
            add_generation_prompt: true,
            tools: Some(r#"[{"name": "b", "a": [1, 2.0, null, "é<"]}]"#.into()),
            variables: Some(r#"{"enable_thinking": false}"#.into()),
            now: Some(1_709_210_096),
            ..ChatOptions::default()
        };
        let template = "{{ tools | tojson }} {{ enable_thinking }} {{ add_generation_prompt }} {{ documents }} \
                        {{ strftime_now('%d %b %Y') }}";
        let want = r#"[{"name": "b", "a": [1, 2.0, null, "é<"]}] False True None 29 Feb 2024"#;
        assert_eq!(rendered(template, "[]", &options).expect("rendered"), want);
        for (tools, messages) in [("{}", "[]"), ("[", "[]"), ("[]", "{}"), ("[]", "[1]")] {
            let options = ChatOptions { tools: Some(tools.into()), ..ChatOptions::default() };
            assert!(rendered("", messages, &options).is_err(), "{tools} {messages}");
        }
    }

    #[test]
    fn messages_are_as_transformers_gives_them() {
        let messages = r#"[{"role": "assistant", "content": null, "reasoning": "r"}]"#;
        let template =
            "{% for m in messages %}{{ 'content' in m }} {{ m.thinking }} {{ m.reasoning_content }}{% endfor %}";
        assert_eq!(rendered(template, messages, &ChatOptions::default()).expect("rendered"), "False r r");
    }
}
