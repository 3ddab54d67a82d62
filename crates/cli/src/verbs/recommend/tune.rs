//! `sememe recommend tune`.

use crate::device;
use crate::failure::usage;
use crate::flags::DeviceChoice;
use crate::output::{output, print, print_json};
use crate::precision::precision;
use crate::progress::Progress;
use crate::text::{count, time, whole};
use crate::verbs::recommend::language_flags::{LearnChoice, TuneFlags, TuningFlags, WeightsChoice};
use anyhow::Result;
use rayon::prelude::*;
use sememe::io::is_there;
use sememe::{Codec, Error};
use sememe_recommend::{
    Chat, ChatTokens, LanguageModel, LanguageRecommender, LanguageTuning, Learn, SaveOptions, TuningLook,
    TuningRecorder, TuningSettings, TuningUpdate, WeightType, read_chats,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub struct Plan {
    model: PathBuf,
    chats: PathBuf,
    validation: Option<PathBuf>,
    bundle: Option<PathBuf>,
    codewords: Option<PathBuf>,
    output: PathBuf,
    weights: WeightType,
    checkpoint: Option<(PathBuf, Duration)>,
    settings: TuningSettings,
    device: DeviceChoice,
}

pub fn plan(flags: TuneFlags) -> Result<Plan> {
    let settings = settings(&flags.tuning);
    settings.validate()?;
    if flags.output.exists() && !flags.output.is_dir() {
        return Err(usage(format!("`{}` is not a folder; give one, to hold a model", flags.output.display())));
    }
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&flags.model, &flags.output) {
        return Err(usage("the model would be replaced by what is made of it; give another folder"));
    }
    let checkpoint = match flags.checkpoint {
        Some(path) => {
            let inputs = [Some(flags.chats.as_path()), flags.validation.as_deref()];
            let inputs: Vec<&Path> = inputs.into_iter().flatten().collect();
            output(&path, &["safetensors"], "a state is written as", &inputs, true)?;
            let minutes = flags.checkpoint_every;
            if !(minutes.is_finite() && (0.0..1e6).contains(&minutes)) {
                return Err(usage(format!("`--checkpoint-every`: expected 0 or more minutes, got {minutes}")));
            }
            Some((path, Duration::from_secs_f64(60.0 * minutes)))
        }
        None => None,
    };
    Ok(Plan {
        model: flags.model,
        chats: flags.chats,
        validation: flags.validation,
        bundle: flags.bundle,
        codewords: flags.codewords,
        output: flags.output,
        weights: match flags.weights {
            WeightsChoice::F32 => WeightType::F32,
            WeightsChoice::Bf16 => WeightType::Bf16,
        },
        checkpoint,
        settings,
        device: flags.on.device,
    })
}

fn settings(flags: &TuningFlags) -> TuningSettings {
    let base = TuningSettings::default();
    TuningSettings {
        learn: match flags.learn {
            LearnChoice::Full => Learn::Full,
            LearnChoice::LowRank => Learn::LowRank,
            LearnChoice::NewTokens => Learn::NewTokens,
        },
        rank: flags.rank.unwrap_or(base.rank),
        alpha: flags.alpha.unwrap_or(base.alpha),
        context: flags.context.unwrap_or(base.context),
        batch_tokens: flags.batch_tokens.unwrap_or(base.batch_tokens),
        accumulate: flags.accumulate.unwrap_or(base.accumulate),
        epochs: flags.epochs.unwrap_or(base.epochs),
        looks: flags.looks.unwrap_or(base.looks),
        patience: flags.patience.or(base.patience),
        rate: flags.rate.or(base.rate),
        warmup: flags.warmup.unwrap_or(base.warmup),
        weight_decay: flags.weight_decay.unwrap_or(base.weight_decay),
        clip_norm: match flags.clip_norm {
            Some(0.0) => None,
            Some(norm) => Some(norm),
            None => base.clip_norm,
        },
        precision: precision(flags.precision),
        seed: flags.seed.unwrap_or(base.seed),
    }
}

/// Chats as tokens; those that are too long are left out and counted.
fn read(path: &Path, model: &LanguageModel, context: usize, progress: &Progress) -> Result<Vec<ChatTokens>> {
    let chats = read_chats(path)?;
    let of = |(number, chat): (usize, &Chat)| {
        let named = |e: Error| Error::format(path, format!("chat {}: {e}", number + 1));
        model.chat_tokens(chat).map_err(named)
    };
    let all: Vec<ChatTokens> = chats.par_iter().enumerate().map(of).collect::<sememe::Result<_>>()?;
    let longest = all.iter().map(|c| c.tokens.len()).max().unwrap_or(0);
    let total = all.len();
    let kept: Vec<ChatTokens> = all.into_iter().filter(|c| c.tokens.len() <= context).collect();
    if kept.is_empty() {
        let problem = format!("all {total} chats have more than {context} tokens, up to {longest}; raise `--context`");
        return Err(Error::format(path, problem).into());
    }
    if kept.len() < total {
        progress.note(&format!(
            "{} of {} have more than {context} tokens, up to {longest}, and are left out",
            whole(total - kept.len()),
            count(total, "chat")
        ));
    }
    Ok(kept)
}

/// Tells looks, and keeps the state.
struct Recorder<'a> {
    progress: &'a Progress,
    checkpoint: Option<&'a (PathBuf, Duration)>,
    last: Instant,
    latest: Option<TuningUpdate>,
}

impl TuningRecorder for Recorder<'_> {
    fn update(&mut self, update: &TuningUpdate) -> sememe::Result<()> {
        // The first, and then now and then: a loss that goes astray is seen early.
        if update.update == 1 || update.update.is_multiple_of(50) {
            self.progress.say(&format!(
                "update {} of {}: loss {:.3}, gradient {:.2}, rate {:.1e}, {} tokens/s",
                whole(update.update),
                whole(update.total),
                update.loss,
                update.gradient_norm,
                update.rate,
                whole(update.tokens_per_second as u64)
            ));
        }
        self.latest = Some(*update);
        Ok(())
    }

    fn look(&mut self, look: &TuningLook) -> sememe::Result<()> {
        let validation = match (look.validation_loss, look.best) {
            (Some(loss), true) => format!(", validation loss {loss:.3}, the lowest so far"),
            (Some(loss), false) => format!(", validation loss {loss:.3}"),
            (None, _) => String::new(),
        };
        self.progress.say(&format!("after update {}: loss {:.3}{validation}", whole(look.update), look.loss));
        Ok(())
    }

    fn due(&mut self) -> bool {
        self.checkpoint.is_some_and(|(_, every)| self.last.elapsed() >= *every)
    }

    fn checkpoint(&mut self, tuning: &LanguageTuning) -> sememe::Result<()> {
        self.last = Instant::now();
        self.checkpoint.map_or(Ok(()), |(path, _)| tuning.save(path))
    }
}

/// The state to go on from: a kept one, or none.
fn started(plan: &Plan, progress: &Progress) -> Result<LanguageTuning> {
    let Some((path, _)) = &plan.checkpoint else { return Ok(LanguageTuning::new(plan.settings.clone())?) };
    if !is_there(path)? {
        return Ok(LanguageTuning::new(plan.settings.clone())?);
    }
    let tuning = LanguageTuning::load(path)?;
    if *tuning.settings() != plan.settings {
        let problem = format!(
            "is the state of a fine-tuning with other settings; give the same flags, another `--checkpoint`, or remove the file. It has {}",
            serde_json::to_string(tuning.settings())?
        );
        return Err(Error::format(path, problem).into());
    }
    progress.note(&format!("going on after {}", count(tuning.updates(), "update")));
    Ok(tuning)
}

pub fn run(plan: &Plan, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let codec = plan.codewords.as_ref().map(Codec::load).transpose()?;
    let mut model = LanguageModel::load(&plan.model)?;
    if let (Some(bundle), Some(_)) = (&plan.bundle, &codec)
        && model.has_id_tokens(bundle)?
    {
        let problem = "has learned vectors of these tokens already, which `--codewords` would replace; leave it out";
        return Err(Error::format(&plan.model, problem).into());
    }
    let first_new = match &plan.bundle {
        Some(bundle) => {
            let first = model.add_id_tokens(bundle)?;
            // What would be refused in the end is refused now.
            LanguageRecommender::check_bundle(&model, bundle)?;
            first
        }
        None => model.shape().vocabulary as u32,
    };
    let training = read(&plan.chats, &model, plan.settings.context, progress)?;
    let validation = match &plan.validation {
        Some(path) => read(path, &model, plan.settings.context, progress)?,
        None => Vec::new(),
    };
    let map = match (&plan.bundle, &codec) {
        (Some(bundle), Some(codec)) => {
            let map = model.place_id_tokens(bundle, codec, &training)?;
            progress.note(&format!(
                "new tokens begin where a map of their codewords puts them: fitted on {}, it explains {:.0} % of their words' variance",
                count(map.chats, "chat"),
                100.0 * map.explained
            ));
            Some(map)
        }
        _ => None,
    };
    let device = device::open(plan.device, usize::MAX)?;
    let mut tuning = started(plan, progress)?;
    let mut recorder = Recorder { progress, checkpoint: plan.checkpoint.as_ref(), last: Instant::now(), latest: None };
    let tuned = tuning.run(model, first_new, &training, &validation, &device, progress, &mut recorder).map_err(
        |e| match e {
            Error::Interrupted(_) if plan.checkpoint.is_some() => {
                let done = count(tuning.updates(), "update");
                Error::Interrupted(format!("stopped after {done}; the same command goes on from there"))
            }
            other => other,
        },
    )?;
    let options = SaveOptions { weights: plan.weights, ..SaveOptions::default() };
    let parameters = tuned.shape().parameters();
    match &plan.bundle {
        Some(bundle) => LanguageRecommender::with_bundle(tuned, bundle)?.save(&plan.output, &options)?,
        None => tuned.save_with(&plan.output, &options)?,
    }
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let tokens: usize = training.iter().map(|c| c.tokens.len()).sum();
    if progress.json {
        return print_json(&json!({
            "output": plan.output.display().to_string(),
            "parameters": parameters,
            "chats": training.len(),
            "tokens": tokens,
            "validation_chats": validation.len(),
            "codeword_map": map.map(|m| json!({"chats": m.chats, "explained": m.explained})),
            "settings": plan.settings,
            "updates": tuning.updates(),
            "looks": tuning.looks(),
            "device": device.info(),
            "seconds": seconds,
            "notes": progress.notes(),
        }));
    }
    if progress.quiet {
        return Ok(());
    }
    print(&format!(
        "wrote {}: {}, learned from {} of {}, in {} on the {}\n",
        plan.output.display(),
        count(parameters, "parameter"),
        count(training.len(), "chat"),
        count(tokens, "token"),
        time(seconds),
        device::name(&device.info())
    ))
}
