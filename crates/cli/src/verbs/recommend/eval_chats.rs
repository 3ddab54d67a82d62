//! `sememe recommend eval-chats`.

use crate::device;
use crate::flags::DeviceChoice;
use crate::output::{print, print_json};
use crate::precision::precision;
use crate::progress::Progress;
use crate::text::{count, percent, time, whole};
use crate::verbs::recommend::language_flags::ChatEvalFlags;
use anyhow::Result;
use sememe::Error;
use sememe::progress::check as check_interrupt;
use sememe_recommend::{Chat, LanguageRecommender, Precision, SpokenOptions, read_chats};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Questions that are answered between two looks at whether to stop.
const AT_ONCE: usize = 32;

pub struct Plan {
    model: PathBuf,
    chats: PathBuf,
    beams: usize,
    limit: usize,
    precision: Precision,
    device: DeviceChoice,
}

pub fn plan(flags: ChatEvalFlags) -> Result<Plan> {
    if flags.beams == 0 {
        return Err(crate::failure::usage("`--beams`: expected at least 1, got 0"));
    }
    Ok(Plan {
        model: flags.model,
        chats: flags.chats,
        beams: flags.beams,
        limit: flags.limit.unwrap_or(usize::MAX),
        precision: precision(flags.precision),
        device: flags.on.device,
    })
}

/// A chat that asks for an ID.
struct ChatQuestion {
    /// What comes before the ID.
    tokens: Vec<u32>,
    /// The items that it names.
    right: Vec<u32>,
}

/// Chats that ask for an ID, and how many others there are.
fn questions(plan: &Plan, recommender: &LanguageRecommender) -> Result<(Vec<ChatQuestion>, usize)> {
    let (mut out, mut others) = (Vec::new(), 0);
    for chat in read_chats(&plan.chats)? {
        let Chat::Messages { messages, .. } = chat else {
            others += 1;
            continue;
        };
        let right = match messages.split_last() {
            Some((answer, before)) if answer.is_answer() => {
                let items = recommender.items(&answer.content)?;
                (!items.is_empty()).then_some((before, items))
            }
            _ => None,
        };
        match right {
            Some((before, right)) => out.push(ChatQuestion { tokens: recommender.question(before)?, right }),
            None => others += 1,
        }
    }
    if out.is_empty() {
        let problem = "no chat's answer is an ID of the model; give chats of messages that end with one";
        return Err(Error::format(&plan.chats, problem).into());
    }
    out.truncate(plan.limit.max(1));
    Ok((out, others))
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let recommender = LanguageRecommender::load(&plan.model)?;
    let (asked, others) = questions(plan, &recommender)?;
    let device = device::open(plan.device, usize::MAX)?;
    let mut session = recommender.session(&device, plan.precision, plan.beams)?;
    let options = SpokenOptions { count: plan.beams.max(10), beams: plan.beams, sampling: None };
    progress.phase("ask", asked.len() as u64, "chats");
    let begun = Instant::now();
    // Chats whose right item is the first, among five, among ten.
    let (mut found, mut listed) = ([0usize; 3], 0usize);
    for (batch, chunk) in asked.chunks(AT_ONCE).enumerate() {
        check_interrupt(progress)?;
        let put: Vec<(&[u32], &[u32])> = chunk.iter().map(|question| (question.tokens.as_slice(), &[][..])).collect();
        for (list, question) in session.recommend(&put, &options, None)?.iter().zip(chunk) {
            listed += list.len();
            let at = list.iter().position(|item| question.right.contains(&item.item));
            for (count, within) in found.iter_mut().zip([1, 5, 10]) {
                *count += usize::from(at.is_some_and(|at| at < within));
            }
        }
        sememe::progress::Observer::event(
            progress,
            sememe::progress::Event::Advance { done: (batch * AT_ONCE + chunk.len()) as u64 },
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    let share = |found: usize| found as f64 / asked.len() as f64;
    if progress.json {
        return print_json(&json!({
            "chats": asked.len(),
            "left_out": others,
            "found_in_1": share(found[0]),
            "found_in_5": share(found[1]),
            "found_in_10": share(found[2]),
            "listed_items": listed,
            "beams": plan.beams,
            "device": device.info(),
            "seconds": seconds,
        }));
    }
    print(&format!(
        "{} that ask for an ID, {} left out, in {}, {} each\nthe right item stands first in {}, among five in {}, among ten in {}\n",
        count(asked.len(), "chat"),
        whole(others),
        time(seconds),
        time(seconds / asked.len() as f64),
        percent(share(found[0])),
        percent(share(found[1])),
        percent(share(found[2])),
    ))
}
