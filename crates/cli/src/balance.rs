//! Balanced training: its plan, and how it is told.

use crate::args::{BalanceChoice, BalanceFlags, Method};
use crate::failure::usage;
use crate::text::{count, whole};
use anyhow::Result;
use sememe::Balance;
use sememe::fit::LoadTarget;
use sememe::progress::LevelBalance;

/// What was asked for; options that would be ignored are refused.
pub fn plan(flags: &BalanceFlags, method: Method) -> Result<Option<Balance>> {
    let own = [
        (flags.balance_levels.is_some(), "--balance-levels"),
        (flags.balance_epsilon.is_some(), "--balance-epsilon"),
        (flags.balance_iterations.is_some(), "--balance-iterations"),
        (flags.capacity.is_some(), "--capacity"),
        (flags.assigned.is_some(), "--assigned"),
    ];
    let given = |names: &[(bool, &'static str)]| names.iter().find(|(given, _)| *given).map(|(_, name)| *name);
    let on = flags.balance != BalanceChoice::None;
    if method != Method::Kmeans
        && let Some(name) = if on { Some("--balance") } else { given(&own) }
    {
        return Err(usage(format!("`{name}` needs `--method kmeans`; leave one of them out")));
    }
    if let (false, Some(name)) = (on, given(&own)) {
        let which =
            if own[3..].iter().any(|(_, n)| *n == name) { "capacity" } else { "sinkhorn` or `--balance capacity" };
        return Err(usage(format!("`{name}` needs `--balance {which}`")));
    }
    let mut balance = match flags.balance {
        BalanceChoice::None => return Ok(None),
        BalanceChoice::Sinkhorn => {
            if let Some(name) = given(&own[3..]) {
                return Err(usage(format!(
                    "`{name}` needs `--balance capacity`; Sinkhorn's loads are even, not bounded"
                )));
            }
            Balance::sinkhorn()
        }
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

/// `loads 47 to 48`, and what prices alone make of them where that is something else.
pub fn loads(b: &LevelBalance) -> String {
    let mut text = format!("loads {} to {}", whole(b.least_load), whole(b.largest_load));
    if b.moved_rows > 0 {
        text.push_str(&format!(
            ", by prices alone {} to {} with {} elsewhere",
            whole(b.least_priced_load),
            whole(b.largest_priced_load),
            count(b.moved_rows, "row")
        ));
    }
    text
}
