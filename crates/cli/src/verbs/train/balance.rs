//! Balanced training: its plan, and how it is told.

use crate::failure::usage;
use crate::flags::BalanceChoice;
use crate::given::{Given, Takes};
use crate::text::count;
use crate::verbs::train::flags::BalanceFlags;
use anyhow::Result;
use sememe::Balance;
use sememe::fit::LoadTarget;

/// The other flags of a training, which balance leaves alone.
const OTHERS: [&str; 8] =
    ["Flags", "Rows", "OnDevice", "Codebooks", "PreprocessFlags", "ProductFlags", "MiniBatchFlags", "NetworkFlags"];

/// What the ways to balance take, in the order of [`BalanceChoice`].
const WAYS: [Takes; 3] = [
    Takes { choice: "none", groups: &OTHERS, flags: &["balance"] },
    Takes {
        choice: "sinkhorn",
        groups: &OTHERS,
        flags: &["balance", "balance_levels", "balance_epsilon", "balance_iterations"],
    },
    Takes {
        choice: "capacity",
        groups: &OTHERS,
        flags: &["balance", "balance_levels", "balance_epsilon", "balance_iterations", "capacity", "assigned"],
    },
];

/// What was asked for; flags that would be ignored are refused.
pub fn plan(flags: &BalanceFlags, given: &Given) -> Result<Option<Balance>> {
    given.refuse_others("balance", &WAYS, flags.balance as usize)?;
    let mut balance = match flags.balance {
        BalanceChoice::None => return Ok(None),
        BalanceChoice::Sinkhorn => Balance::sinkhorn(),
        BalanceChoice::Capacity => Balance::capacity(),
    };
    if let Some(text) = &flags.capacity {
        let (minimum, maximum) = bounds(text)?;
        balance.loads = LoadTarget::Capacity { minimum, maximum };
    }
    balance.levels = flags.balance_levels.clone();
    balance.epsilon = flags.balance_epsilon.unwrap_or(balance.epsilon);
    balance.iterations = flags.balance_iterations.unwrap_or(balance.iterations);
    Ok(Some(balance))
}

/// `40..60`, `..60`, `40..`; both ends are included.
fn bounds(text: &str) -> Result<(Option<u32>, Option<u32>)> {
    let wrong =
        || usage(format!("`--capacity {text}`: expected bounds such as 40..60, or ..60 and 40.. for one side alone"));
    let (low, high) = text.split_once("..").ok_or_else(wrong)?;
    let side = |part: &str| if part.is_empty() { Ok(None) } else { part.parse().map(Some).map_err(|_| wrong()) };
    match (side(low)?, side(high)?) {
        (None, None) => Err(wrong()),
        both => Ok(both),
    }
}

/// A line for `--dry-run`.
pub fn describe(balance: &Balance) -> String {
    let levels = match &balance.levels {
        None => "all levels".to_owned(),
        Some(levels) => {
            let list: Vec<String> = levels.iter().map(usize::to_string).collect();
            format!("{} {}", if list.len() == 1 { "level" } else { "levels" }, list.join(", "))
        }
    };
    let how = match balance.loads {
        LoadTarget::Even => "even loads".to_owned(),
        LoadTarget::Capacity { minimum: None, maximum: None } => "loads exactly even".to_owned(),
        LoadTarget::Capacity { minimum, maximum } => {
            let side = |name: &str, n: Option<u32>| n.map(|n| format!("at {name} {}", count(n, "row")));
            let sides: Vec<String> = [side("least", minimum), side("most", maximum)].into_iter().flatten().collect();
            format!("{} a codeword", sides.join(" and "))
        }
    };
    format!("{how} at {levels}, ε {}", balance.epsilon)
}
