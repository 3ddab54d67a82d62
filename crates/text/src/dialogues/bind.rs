//! Templates as they meet a catalogue.

use std::path::Path;

use super::templates::Templates;
use super::turn::{ParsedTurn, Slot, Task};
use sememe::{Error, Remedy, Result};

/// A template bound to a catalogue.
#[derive(Clone, Debug)]
pub(super) struct BoundTurn {
    pub(super) parsed: ParsedTurn,
    pub(super) query: Vec<Slot>,
    pub(super) answer: Vec<Slot>,
}

/// Binds templates of these tasks to the fields of a catalogue; also says which fields are needed. With `lenient`, templates over
/// fields that are not there are passed over.
pub(super) fn bind(
    templates: &Templates,
    tasks: &[Task],
    there: &[String],
    source: &Path,
    lenient: bool,
) -> Result<(Vec<BoundTurn>, Vec<String>)> {
    let (mut bound, mut read) = (Vec::new(), Vec::new());
    for task in tasks {
        let before = bound.len();
        for (at, turn) in templates.of(*task).iter().enumerate() {
            let parsed = ParsedTurn::new(*task, at, turn)?;
            let needed = read.len();
            let slots = parsed
                .slots(&parsed.query, there, &mut read)
                .and_then(|query| Ok((query, parsed.slots(&parsed.answer, there, &mut read)?)));
            match slots {
                Ok((query, answer)) => bound.push(BoundTurn { parsed, query, answer }),
                Err(_) if lenient => read.truncate(needed),
                Err(field) => {
                    let place = format!("{}[{}]", task.name(), parsed.at);
                    let problem = format!(
                        "wants the field `{field}`, which `{}` does not have; {}",
                        source.display(),
                        list(there)
                    );
                    return Err(Error::config(format!("templates.{place}"), problem));
                }
            }
        }
        if bound.len() == before {
            let problem = if lenient {
                let want = "the starter templates want a field `title` or `text`";
                format!("{want}, and `{}` has neither; {}", source.display(), list(there))
            } else {
                format!("there is none for the task `{}`", task.name())
            };
            let own = lenient.then(|| Remedy::give("templates").to("write templates of your own"));
            return Err(Error::config("templates", problem).mend(own));
        }
    }
    Ok((bound, read))
}

fn list(there: &[String]) -> String {
    let shown: Vec<&str> = there.iter().take(40).map(String::as_str).collect();
    let more =
        if there.len() > shown.len() { format!(" and {} more", there.len() - shown.len()) } else { String::new() };
    format!("it has `{}`{more}", shown.join("`, `"))
}
