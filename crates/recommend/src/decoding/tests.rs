//! Search and sampling against exhaustive scoring, with a scorer that makes its logits up from what it has read.

use super::{BeamScorer, BeamStep, FoundId, Sampling, SearchQuery, TrieFilter, TriePlaces, search};
use sememe::Result;
use sememe::ids::Trie;
use sememe::rng::stream;
use std::collections::{BTreeMap, HashSet};

const END: u32 = 1000;

/// A logit that depends on all that came before: a multiple of 2⁻¹⁰, so that a whole number is added without rounding.
fn logit(read: &[u32], token: u32) -> f32 {
    let name: String = read.iter().map(|t| format!("{t},")).collect();
    (1536.0 * stream(u64::from(token), &name, 3).normal()).round() as f32 / 1024.0
}

/// Keeps what every beam has read, and holds its callers to the contract.
#[derive(Default)]
struct MadeUp {
    beams: Vec<Vec<u32>>,
    calls: usize,
    /// Adds a constant to all logits of a beam, which must not matter.
    shift: f32,
}

impl BeamScorer for MadeUp {
    fn start(&mut self, prompts: &[&[u32]]) -> Result<()> {
        self.beams = prompts.iter().map(|prompt| prompt.to_vec()).collect();
        Ok(())
    }

    fn step(&mut self, steps: &[BeamStep]) -> Result<()> {
        assert!(!steps.is_empty() && steps.iter().all(|step| step.token != END));
        self.beams = steps.iter().map(|step| [&self.beams[step.from][..], &[step.token]].concat()).collect();
        Ok(())
    }

    fn logits(&mut self, asked: &[Vec<u32>]) -> Result<Vec<f32>> {
        assert_eq!(asked.len(), self.beams.len());
        self.calls += 1;
        let own = |(read, tokens): (&Vec<u32>, &Vec<u32>)| {
            tokens.iter().map(|token| logit(read, *token) + self.shift * read.len() as f32).collect::<Vec<_>>()
        };
        Ok(self.beams.iter().zip(asked).flat_map(own).collect())
    }
}

fn search_with(
    ids: &[Vec<u32>],
    queries: &[SearchQuery<'_>],
    allowed: Option<&(dyn Fn(u32) -> bool + Sync)>,
    width: usize,
    sampling: Option<&Sampling>,
) -> Vec<Vec<FoundId>> {
    let trie = Trie::build(ids.iter().map(Vec::as_slice), END).expect("a trie");
    let places = TriePlaces::new(&trie).expect("a trie");
    let filter = TrieFilter::new(&trie, &places, allowed);
    let mut scorer = MadeUp { shift: 3.0, ..MadeUp::default() };
    let found = search(&mut scorer, &filter, queries, width, sampling).expect("found");
    assert!(scorer.calls <= trie.depth() + 1, "{} calls", scorer.calls);
    found
}

/// The log-probability of every ID, from all its prefixes.
fn exhaustive(ids: &[Vec<u32>], prompt: &[u32]) -> BTreeMap<Vec<u32>, f64> {
    let trie = Trie::build(ids.iter().map(Vec::as_slice), END).expect("a trie");
    let of = |id: &Vec<u32>| {
        let steps = (0..=id.len()).map(|depth| {
            let read = [prompt, &id[..depth]].concat();
            let of = |token: &u32| f64::from(logit(&read, *token));
            let sum = trie.allowed(&id[..depth]).iter().map(|token| of(token).exp()).sum::<f64>().ln();
            of(id.get(depth).unwrap_or(&END)) - sum
        });
        (id.clone(), steps.sum())
    };
    ids.iter().map(of).collect()
}

/// IDs as they come: of all lengths if `lengths`, some shared, some the prefix of another.
fn drawn_ids(seed: u64, count: usize, lengths: bool) -> Vec<Vec<u32>> {
    let mut random = stream(seed, "ids", 0);
    let mut draw = |below: u64| random.below(below) as u32;
    (0..count)
        .map(|_| {
            let length = if lengths { 1 + draw(4) } else { 3 };
            (0..length).map(|level| 10 * level + draw(4)).collect()
        })
        .collect()
}

fn query<'a>(prompt: &'a [u32], left_out: &'a [u32]) -> SearchQuery<'a> {
    SearchQuery { prompt, left_out, number: 0 }
}

#[test]
fn a_wide_beam_finds_every_id_with_its_probability() {
    for seed in 0..20 {
        let ids = drawn_ids(seed, 1 + seed as usize * 3, seed % 2 == 0);
        let prompts: [&[u32]; 3] = [&[1], &[1, 2, 3], &[7]];
        let queries = prompts.map(|prompt| query(prompt, &[]));
        for (found, prompt) in search_with(&ids, &queries, None, ids.len(), None).iter().zip(prompts) {
            let want = exhaustive(&ids, prompt);
            assert_eq!(found.len(), want.len(), "seed {seed}");
            for hit in found {
                assert!((hit.log_probability - want[&hit.id]).abs() < 1e-9, "seed {seed}: {hit:?}, {}", want[&hit.id]);
                let items: Vec<u32> = (0..ids.len() as u32).filter(|i| ids[*i as usize] == hit.id).collect();
                assert_eq!((&hit.items, hit.sharing), (&items, items.len()));
            }
            let sum: f64 = found.iter().map(|hit| hit.log_probability.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "seed {seed}: {sum}");
            assert!(found.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
        }
    }
}

#[test]
fn what_is_left_out_is_not_entered_and_changes_no_probability() {
    for seed in 0..30 {
        let ids = drawn_ids(seed, 30, seed % 2 == 0);
        let mut random = stream(seed, "left out", 0);
        let left_out: Vec<u32> = (0..random.below(30)).map(|_| random.below(40) as u32).collect();
        let third = |item: u32| !item.is_multiple_of(3);
        let found = search_with(&ids, &[query(&[5], &left_out), query(&[6], &[])], Some(&third), 30, None);
        for ((found, prompt), left_out) in found.iter().zip([[5u32], [6]]).zip([&left_out[..], &[]]) {
            let want = exhaustive(&ids, &prompt);
            let may = |item: u32| third(item) && !left_out.contains(&item);
            let left: HashSet<&Vec<u32>> = (0..30).filter(|item| may(*item)).map(|item| &ids[item as usize]).collect();
            assert_eq!(found.iter().map(|hit| &hit.id).collect::<HashSet<_>>(), left, "seed {seed}");
            for hit in found {
                assert!((hit.log_probability - want[&hit.id]).abs() < 1e-9, "seed {seed}: {hit:?}");
                let on: Vec<u32> = (0..30).filter(|item| ids[*item as usize] == hit.id).collect();
                assert_eq!(hit.sharing, on.len());
                assert_eq!(hit.items, on.into_iter().filter(|item| may(*item)).collect::<Vec<_>>());
                assert!(!hit.items.is_empty());
            }
        }
    }
}

#[test]
fn a_narrow_beam_is_not_spent_on_what_is_left_out() {
    // All but one item of 40 are left out: a beam of one finds that one.
    let ids = drawn_ids(3, 40, false);
    for item in 0..40 {
        let only = |other: u32| other == item;
        let found = search_with(&ids, &[query(&[2], &[])], Some(&only), 1, None);
        assert_eq!((found[0].len(), &found[0][0].items[..]), (1, &[item][..]));
        let all: Vec<u32> = (0..40).filter(|other| *other != item).collect();
        assert_eq!(search_with(&ids, &[query(&[2], &all)], None, 1, None)[0][0].items, [item]);
    }
    let none = |_: u32| false;
    assert_eq!(search_with(&ids, &[query(&[2], &[])], Some(&none), 4, None), [vec![]]);
    let all: Vec<u32> = (0..40).collect();
    let found = search_with(&ids, &[query(&[2], &all), query(&[2], &[])], None, 4, None);
    assert_eq!((found[0].len(), found[1].len()), (0, 4));
}

#[test]
fn a_beam_is_that_of_the_trie() {
    for seed in 0..10 {
        let ids = drawn_ids(seed, 60, true);
        let trie = Trie::build(ids.iter().map(Vec::as_slice), END).expect("a trie");
        let hits = trie
            .beam(5, |frontier| {
                for beam in frontier {
                    let read = [&[9], beam.prefix].concat();
                    let logs: Vec<f64> = beam.allowed.iter().map(|token| f64::from(logit(&read, *token))).collect();
                    let sum = logs.iter().map(|v| v.exp()).sum::<f64>().ln();
                    beam.scores.iter_mut().zip(logs).for_each(|(score, v)| *score = (v - sum) as f32);
                }
                Ok(())
            })
            .expect("hits");
        let found = search_with(&ids, &[query(&[9], &[])], None, 5, None);
        // An ID that stands alone ends earlier here, with the same score.
        assert_eq!(
            found[0].iter().map(|hit| &hit.id).collect::<Vec<_>>(),
            hits.iter().map(|hit| &hit.id).collect::<Vec<_>>()
        );
    }
}

#[test]
fn one_id_needs_no_scorer() {
    let found = search_with(&[vec![4, 5, 6], vec![4, 5, 6]], &[query(&[1], &[1])], None, 3, None);
    assert_eq!((found[0][0].items.clone(), found[0][0].sharing, found[0][0].log_probability), (vec![0], 2, 0.0));
}

#[test]
fn draws_follow_the_probabilities() {
    let ids = drawn_ids(8, 12, true);
    let want = exhaustive(&ids, &[3]);
    let sampling = Sampling { seed: 5, ..Sampling::default() };
    let draws = 20_000;
    let found = search_with(&ids, &[query(&[3], &[])], None, draws, Some(&sampling));
    assert_eq!(found[0].iter().map(|hit| hit.draws as usize).sum::<usize>(), draws);
    for (id, log) in &want {
        let share = found[0].iter().find(|hit| hit.id == *id).map_or(0.0, |hit| f64::from(hit.draws) / draws as f64);
        assert!((share - log.exp()).abs() < 0.02, "{id:?}: {share}, expected {}", log.exp());
    }
    // The same seed draws the same, another query or seed something else.
    assert_eq!(search_with(&ids, &[query(&[3], &[])], None, draws, Some(&sampling)), found);
    let other = SearchQuery { number: 1, ..query(&[3], &[]) };
    assert_ne!(search_with(&ids, &[other], None, draws, Some(&sampling)), found);
    // Next to no temperature, or next to nothing of the probability, is the greedy search.
    let greedy = search_with(&ids, &[query(&[3], &[])], None, 1, None);
    for sampling in [Sampling { temperature: 1e-9, ..sampling }, Sampling { top_p: 1e-9, ..sampling }] {
        let found = search_with(&ids, &[query(&[3], &[])], None, 50, Some(&sampling));
        assert_eq!((found[0].len(), found[0][0].draws, &found[0][0].id), (1, 50, &greedy[0][0].id));
    }
    // What is left out is never drawn.
    let odd = |item: u32| item % 2 == 1;
    let found = search_with(&ids, &[query(&[3], &[1, 3])], Some(&odd), 500, Some(&sampling));
    assert!(found[0].iter().flat_map(|hit| &hit.items).all(|item| odd(*item) && ![1, 3].contains(item)));
    assert_eq!(found[0].iter().map(|hit| hit.draws).sum::<u32>(), 500);
}

#[test]
fn what_cannot_be_is_refused() {
    let trie = Trie::build([&[1u32, 2][..], &[1, 3]].into_iter(), END).expect("a trie");
    let places = TriePlaces::new(&trie).expect("a trie");
    let filter = TrieFilter::new(&trie, &places, None);
    let ask = |width, sampling: Option<&Sampling>| {
        search(&mut MadeUp::default(), &filter, &[query(&[1], &[])], width, sampling).expect_err("refused").to_string()
    };
    assert!(ask(0, None).contains("got 0"));
    assert!(ask(1, Some(&Sampling { temperature: 0.0, ..Sampling::default() })).contains("temperature"));
    assert!(ask(1, Some(&Sampling { temperature: f64::NAN, ..Sampling::default() })).contains("NaN"));
    assert!(ask(1, Some(&Sampling { top_p: 1.5, ..Sampling::default() })).contains("1.5"));
    struct Broken(f32);
    impl BeamScorer for Broken {
        fn start(&mut self, _: &[&[u32]]) -> Result<()> {
            Ok(())
        }
        fn step(&mut self, _: &[BeamStep]) -> Result<()> {
            Ok(())
        }
        fn logits(&mut self, asked: &[Vec<u32>]) -> Result<Vec<f32>> {
            Ok(vec![self.0; asked.iter().map(Vec::len).sum()])
        }
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let found = search(&mut Broken(value), &filter, &[query(&[1], &[])], 2, None);
        assert!(found.expect_err("refused").to_string().contains("damaged"), "{value}");
    }
}
