//! Whole runs: a model can learn, an interrupted run ends as the unbroken one, a diverging one keeps its last good state.

use std::cell::Cell;

use proptest::prelude::*;
use refrain::data::Vocabulary;
use refrain::models::{LanguageModelSpace, ModelConfig, TokenBatch};
use refrain::nn::{CellKind, Nonlinearity};
use refrain::optim::{Optimizer, OptimizerConfig, OptimizerKind, Schedule, gradient_norm};
use refrain::train::events::Event;
use refrain::train::{
    Budget, Carried, ChunkPlan, LanguageModelData, LanguageModelTask, Outcome, Progress, Recorder,
    Surroundings, Task, TrainConfig, Trainer,
};
use refrain::{Error, Result};
use refrain_kernels::{Compute, Isa};

use crate::{CELLS, bits, new_model, parameter_bits, plain, random_tokens, rng};

/// One batch of random tokens can be learnt by heart.
#[test]
fn a_small_model_of_every_cell_overfits_one_batch() {
    /// Nats a token; chance is ln 12 = 2.5.
    const FLOOR: f64 = 0.02;
    const STEPS: u64 = 250;
    let (batch, seq_len, vocab_size) = (4, 16, 12);
    let mut configs = CELLS.map(|cell| plain(cell, 32, 1)).to_vec();
    configs.push(ModelConfig {
        nonlinearity: Nonlinearity::Relu,
        ..plain(CellKind::Rnn, 32, 1)
    });
    configs.push(ModelConfig {
        tie_weights: true,
        embedding_size: 32,
        ..plain(CellKind::Lstm, 32, 2)
    });
    for config in configs {
        let rng = &mut rng(3);
        let mut inputs = random_tokens(batch * seq_len, vocab_size, rng);
        // A first token of its own tells each row from the others.
        inputs[..batch].copy_from_slice(&[0, 1, 2, 3]);
        let mut targets = inputs[batch..].to_vec();
        targets.extend(random_tokens(batch, vocab_size, rng));
        let tokens = TokenBatch {
            inputs: &inputs,
            targets: &targets,
            batch,
        };
        let compute = Compute::single(Isa::detect());
        let mut model = new_model(&config, vocab_size, 1);
        let mut optimizer = Optimizer::new(&adam(0.01), &model);
        let mut space = LanguageModelSpace::default();
        let (mut first, mut last) = (None, f64::NAN);
        for step in 1..=STEPS {
            let mut state = model.zero_state(batch);
            last = model.loss_and_gradients(&compute, &mut space, tokens, &mut state, None);
            first.get_or_insert(last);
            let update = optimizer.clip(gradient_norm(&compute, &model));
            optimizer.update(&compute, &mut model, step, 0.01, update);
        }
        assert!(first > Some(2.0), "{first:?} {config:?}");
        assert!(last < FLOOR, "{last} after {STEPS} steps of {config:?}");
    }
}

fn adam(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig {
        kind: OptimizerKind::Adam,
        learning_rate,
        momentum: 0.0,
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        schedule: Schedule::Constant,
        warmup_steps: 0,
    }
}

/// All that a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
struct Saved {
    /// Under their names, as a file would hold them.
    parameters: Vec<(String, Vec<f32>)>,
    moments: [Vec<Vec<f32>>; 2],
    carried: Vec<Carried>,
    progress: Progress,
}

impl Saved {
    fn of(task: &dyn Task, optimizer: &Optimizer<f32>, progress: &Progress) -> Self {
        let mut parameters = Vec::new();
        task.parameters().visit(&mut |parameter| {
            parameters.push((parameter.name.clone(), parameter.value.clone()));
        });
        Self {
            parameters,
            moments: optimizer.moments().map(|(_, moments)| moments.to_vec()),
            carried: task.carried(),
            progress: progress.clone(),
        }
    }
}

/// Keeps in memory what a run folder would keep.
#[derive(Debug, Default)]
struct Memory {
    /// All but the saves.
    events: Vec<Event>,
    /// How many events there were at each save.
    saves: Vec<(usize, Saved)>,
    best: Option<Progress>,
}

impl Recorder<LanguageModelTask> for Memory {
    fn event(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Save(save) => {
                let saved = &self.saves.last().expect("a save event without a save").1;
                assert_eq!(save.step, saved.progress.step);
            }
            event => self.events.push(event.clone()),
        }
        Ok(())
    }

    fn save_best(&mut self, _: &LanguageModelTask, progress: &Progress) -> Result<()> {
        self.best = Some(progress.clone());
        Ok(())
    }

    fn save(
        &mut self,
        task: &LanguageModelTask,
        optimizer: &Optimizer<f32>,
        progress: &Progress,
    ) -> Result<()> {
        let saved = Saved::of(task, optimizer, progress);
        self.saves.push((self.events.len(), saved));
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Setup {
    model: ModelConfig,
    train: TrainConfig,
}

const VOCABULARY: &str = "abcdefghij";
const SEED: u64 = 11;

fn setup(cell: CellKind, carry_state: bool) -> Setup {
    Setup {
        model: ModelConfig {
            dropout: 0.25,
            ..plain(cell, 12, 2)
        },
        train: TrainConfig {
            optimizer: OptimizerConfig {
                schedule: Schedule::Cosine,
                warmup_steps: 3,
                ..adam(0.02)
            },
            batch: 4,
            bptt: Some(6),
            carry_state,
            // Six steps to an epoch.
            budget: Budget::Epochs(3.4),
            eval_every: 4,
            save_every: 5,
            watch: Vec::new(),
            watch_every: 1,
            patience: None,
            seed: SEED,
        },
    }
}

/// A run in memory.
struct Run {
    task: LanguageModelTask,
    optimizer: Optimizer<f32>,
    progress: Progress,
}

impl Run {
    fn new(setup: &Setup, seed_of_weights: u64) -> Self {
        let vocabulary = Vocabulary::from_text(VOCABULARY).unwrap();
        let rng = &mut rng(5);
        let data = LanguageModelData {
            train: random_tokens(150, vocabulary.len(), rng),
            validation: random_tokens(40, vocabulary.len(), rng),
            test: Vec::new(),
            vocabulary,
        };
        let TrainConfig {
            batch,
            bptt,
            carry_state,
            seed,
            ..
        } = setup.train;
        let (plan, _) = ChunkPlan::new(data.train.len(), batch, bptt, carry_state, seed).unwrap();
        let model = new_model(&setup.model, data.vocabulary.len(), seed_of_weights);
        let optimizer = Optimizer::new(&setup.train.optimizer, &model);
        Self {
            task: LanguageModelTask::new(model, data, plan, seed),
            optimizer,
            progress: Progress::default(),
        }
    }

    /// A new run that takes up where another was saved; its own first weights do not count.
    fn resume(setup: &Setup, saved: Saved) -> Self {
        let mut run = Self::new(setup, 999);
        let mut parameters = saved.parameters.into_iter();
        run.task.parameters_mut().visit_mut(&mut |parameter| {
            let (name, values) = parameters.next().unwrap();
            assert_eq!(name, parameter.name);
            parameter.value = values;
        });
        for ((_, to), from) in run.optimizer.moments_mut().into_iter().zip(saved.moments) {
            to.clone_from_slice(&from);
        }
        run.task.restore(saved.carried).unwrap();
        run.progress = saved.progress;
        run
    }

    /// Goes on, to the end or for so many steps.
    fn go(
        &mut self,
        setup: &Setup,
        compute: &Compute,
        steps: Option<u64>,
    ) -> (Result<Outcome>, Memory) {
        let left = Cell::new(steps);
        let surroundings = Surroundings {
            clock: &|| 0.0,
            stop: &|| {
                let now = left.get();
                left.set(now.map(|steps| steps.saturating_sub(1)));
                now == Some(0)
            },
        };
        let mut memory = Memory::default();
        let outcome = Trainer::new(&setup.train, compute).run(
            &mut self.task,
            &mut self.optimizer,
            &mut self.progress,
            &mut memory,
            &surroundings,
        );
        (outcome, memory)
    }

    fn saved(&self) -> Saved {
        Saved::of(&self.task, &self.optimizer, &self.progress)
    }
}

/// Every number of a state as bits.
fn state_bits(saved: &Saved) -> Vec<u32> {
    let parameters = saved.parameters.iter().flat_map(|(_, values)| values);
    let moments = saved.moments.iter().flatten().flatten();
    let carried = saved.carried.iter().flat_map(|part| &part.values);
    bits(parameters.chain(moments).chain(carried))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_interrupted_run_ends_as_the_unbroken_one(
        cell in 0usize..3,
        carry_state in any::<bool>(),
        kind in prop::sample::select(OptimizerKind::ALL),
        schedule in prop::sample::select(Schedule::ALL),
        stops in prop::collection::vec(0u64..22, 1..4),
        // Go on from an earlier save than the last, as after a crash.
        saves_lost in 0usize..3,
        (threads, detect) in (1usize..3, any::<bool>()),
    ) {
        let mut setup = setup(CELLS[cell], carry_state);
        (setup.train.optimizer.kind, setup.train.optimizer.schedule) = (kind, schedule);
        let mut unbroken = Run::new(&setup, 1);
        let (outcome, expected) = unbroken.go(&setup, &Compute::single(Isa::detect()), None);
        prop_assert_eq!(outcome?, Outcome::Finished("epochs"));
        prop_assert_eq!(unbroken.progress.step, 21);

        let isa = if detect { Isa::detect() } else { Isa::SCALAR };
        let compute = Compute::new(isa, threads);
        let mut run = Run::new(&setup, 1);
        let mut events = Vec::new();
        // The last part, without a stop, ends the run unless one before has.
        for stop in stops.into_iter().map(Some).chain([None]) {
            let (outcome, mut memory) = run.go(&setup, &compute, stop);
            if outcome? != Outcome::Interrupted {
                events.append(&mut memory.events);
                break;
            }
            memory.saves.truncate(memory.saves.len().saturating_sub(saves_lost).max(1));
            // Where nothing was saved it was stopped before its first step.
            let Some((count, saved)) = memory.saves.pop() else {
                prop_assert_eq!((stop, memory.events.len()), (Some(0), 0));
                continue;
            };
            events.extend_from_slice(&memory.events[..count]);
            run = Run::resume(&setup, saved);
        }
        prop_assert_eq!(&events, &expected.events);
        prop_assert_eq!(state_bits(&run.saved()), state_bits(&unbroken.saved()));
        prop_assert_eq!(&run.progress, &unbroken.progress);
    }
}

/// Random tokens cannot be predicted: what is learnt of them by heart makes the validation worse, and the learning rate falls.
#[test]
fn a_plateau_halves_the_learning_rate_and_outlives_a_resume() {
    let mut setup = setup(CellKind::Gru, true);
    setup.train.eval_every = 2;
    setup.train.optimizer.schedule = Schedule::Plateau;
    let compute = Compute::single(Isa::detect());
    let mut unbroken = Run::new(&setup, 1);
    let (outcome, memory) = unbroken.go(&setup, &compute, None);
    outcome.unwrap();
    let (mut rate, mut without_best) = (0.02, 0);
    for event in &memory.events {
        match event {
            Event::Step(step) if step.step > 3 => assert_eq!(step.learning_rate, rate),
            Event::Validation(validation) => {
                without_best = if validation.best { 0 } else { without_best + 1 };
                if without_best == 2 {
                    (rate, without_best) = (rate / 2.0, 0);
                }
            }
            _ => (),
        }
    }
    assert!(rate < 0.01, "it was halved once at most: {rate}");

    let mut run = Run::new(&setup, 1);
    let (_, mut memory) = run.go(&setup, &compute, Some(17));
    let mut saved = memory.saves.pop().unwrap().1;
    assert!(saved.progress.plateau.halvings > 0);
    let progress = serde_json::to_value(&saved.progress).unwrap();
    saved.progress = serde_json::from_value(progress).unwrap();
    let mut run = Run::resume(&setup, saved);
    run.go(&setup, &compute, None).0.unwrap();
    assert_eq!(state_bits(&run.saved()), state_bits(&unbroken.saved()));
    assert_eq!(run.progress, unbroken.progress);
}

/// States from before the schedule `plateau` was there are read.
#[test]
fn progress_without_a_plateau_is_read() {
    let mut progress = serde_json::to_value(Progress::default()).unwrap();
    progress.as_object_mut().unwrap().remove("plateau").unwrap();
    let read: Progress = serde_json::from_value(progress).unwrap();
    assert_eq!(read, Progress::default());
}

/// The events of a run, and what they count.
#[test]
fn events_come_in_order_and_hold_every_step_once() {
    let setup = setup(CellKind::Gru, true);
    let mut run = Run::new(&setup, 1);
    let (_, memory) = run.go(&setup, &Compute::single(Isa::detect()), None);
    let (mut steps, mut validations, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    let mut best_steps = Vec::new();
    for event in &memory.events {
        match event {
            Event::Step(step) => {
                assert_eq!(step.tokens, step.step * 24);
                assert!((step.epoch - step.step as f64 / 6.0).abs() < 1e-12);
                assert_eq!(step.clipped, step.clipped_norm < step.grad_norm);
                steps.push(step.step);
            }
            Event::Validation(validation) => {
                validations.push(validation.step);
                if validation.best {
                    best_steps.push(validation.step);
                }
            }
            Event::Sample(sample) => {
                assert_eq!(sample.text.chars().count(), 200);
                samples.push(sample.step);
            }
            Event::End(end) => assert_eq!((end.step, &end.reason[..]), (21, "epochs")),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(steps, (1..=21).collect::<Vec<_>>());
    assert_eq!(validations, [4, 8, 12, 16, 20, 21]);
    assert_eq!(samples, validations);
    let saves: Vec<u64> = memory.saves.iter().map(|(_, s)| s.progress.step).collect();
    // Every fifth step, each new best, and the end.
    let expected =
        (1..=21).filter(|step| step % 5 == 0 || *step == 21 || best_steps.contains(step));
    assert_eq!(saves, expected.collect::<Vec<_>>());
    assert!(!best_steps.is_empty());
    assert!(matches!(memory.events.last(), Some(Event::End(_))));
    let best = memory.best.unwrap().best.unwrap();
    assert_eq!(run.progress.best, Some(best));
}

/// A weight that is not a number stops the run at the very next step, under the weight's name.
#[test]
fn a_nan_in_any_weight_is_named() {
    let compute = Compute::single(Isa::detect());
    for cell in CELLS {
        let setup = setup(cell, true);
        let mut run = Run::new(&setup, 1);
        let (outcome, memory) = run.go(&setup, &compute, Some(3));
        assert_eq!(outcome.unwrap(), Outcome::Interrupted);
        let (_, saved) = memory.saves.into_iter().last().unwrap();
        let names: Vec<String> = saved
            .parameters
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        for planted in &names {
            let mut run = Run::resume(&setup, saved.clone());
            run.task.parameters_mut().visit_mut(&mut |parameter| {
                if parameter.name == *planted {
                    // Not every token occurs in a chunk, so one number of the embedding might not be read.
                    let count = if planted == "embedding.weight" {
                        parameter.len()
                    } else {
                        1
                    };
                    parameter.value[..count].fill(f32::NAN);
                }
            });
            let carried = run.task.carried();
            let (outcome, memory) = run.go(&setup, &compute, None);
            let Err(error) = outcome else {
                panic!("a NaN in `{planted}` went unseen");
            };
            let text = error.to_string();
            let Error::NonFinite { step, layer, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!((*step, layer), (4, planted), "{text}");
            assert!(
                text.contains("step 4") && text.contains(planted.as_str()),
                "{text}"
            );
            assert!(error.hint().unwrap().contains("--learning-rate"));
            // Nothing happened: no event, no save, the state and the place are those before the step.
            assert!(memory.events.is_empty() && memory.saves.is_empty());
            assert_eq!(run.progress, saved.progress);
            assert_eq!(run.task.carried(), carried);
        }
    }
}

fn sgd_without_clipping(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig {
        kind: OptimizerKind::Sgd,
        clip_norm: None,
        ..adam(learning_rate)
    }
}

fn is_finite(saved: &Saved) -> bool {
    let mut numbers = saved.parameters.iter().flat_map(|(_, values)| values);
    numbers.all(|x| x.is_finite())
}

/// A run whose activations explode is saved as it was before the step that failed.
#[test]
fn a_diverging_run_keeps_the_state_before() {
    let compute = Compute::single(Isa::detect());
    let mut setup = setup(CellKind::Rnn, true);
    setup.model.nonlinearity = Nonlinearity::Relu;
    setup.train.optimizer = sgd_without_clipping(1e4);
    setup.train.budget = Budget::Steps(100);
    let mut run = Run::new(&setup, 1);
    let (outcome, memory) = run.go(&setup, &compute, None);
    let error = outcome.unwrap_err();
    let Error::NonFinite { step, .. } = &error else {
        panic!("{error:?}");
    };
    let step = *step;
    assert!(step > 1, "{error}");
    let (_, kept) = memory.saves.last().unwrap();
    assert!(is_finite(kept), "{error}");
    assert_eq!(kept.progress.step, step - 1);
    assert_eq!(run.progress.step, step - 1);

    let mut shorter = Run::new(&setup, 1);
    let (outcome, _) = shorter.go(&setup, &compute, Some(step - 1));
    assert_eq!(outcome.unwrap(), Outcome::Interrupted);
    assert_eq!(state_bits(kept), state_bits(&shorter.saved()));
    assert_eq!(kept.progress, shorter.progress);
}

/// An update that makes a weight infinite is never saved over a good state.
#[test]
fn infinite_weights_are_not_saved() {
    let compute = Compute::single(Isa::detect());
    for (cell, save_every) in CELLS.into_iter().zip([1, 2, 5]) {
        let mut setup = setup(cell, true);
        setup.train.save_every = save_every;
        let mut run = Run::new(&setup, 1);
        let (outcome, _) = run.go(&setup, &compute, Some(4));
        assert_eq!(outcome.unwrap(), Outcome::Interrupted);
        let good = run.saved();
        // Infinite in f32.
        setup.train.optimizer = sgd_without_clipping(1e40);
        let mut run = Run::new(&setup, 999);
        run.optimizer = Optimizer::new(&setup.train.optimizer, run.task.model());
        run.task.restore(good.carried.clone()).unwrap();
        run.progress = good.progress.clone();
        let (outcome, memory) = run.go(&setup, &compute, None);
        let error = outcome.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::NonFinite {
                    what: "update",
                    step: 5,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(memory.saves.is_empty());
    }
}

#[test]
fn patience_ends_a_run() {
    let mut setup = setup(CellKind::Lstm, true);
    // Nothing is learnt, so that only the first score is a best one.
    setup.train.optimizer.learning_rate = 0.0;
    setup.train.patience = Some(3);
    setup.train.eval_every = 2;
    let compute = Compute::single(Isa::detect());
    let mut run = Run::new(&setup, 1);
    let (outcome, memory) = run.go(&setup, &compute, None);
    assert_eq!(outcome.unwrap(), Outcome::Finished("patience"));
    assert_eq!((run.progress.step, run.progress.without_best), (8, 3));
    assert_eq!(memory.best.unwrap().step, 2);
    assert_eq!(memory.saves.last().unwrap().1.progress.step, 8);
    let Some(Event::End(end)) = memory.events.last() else {
        panic!("no end");
    };
    assert_eq!((end.step, &end.reason[..]), (8, "patience"));
    // What has run out of patience stays so when it is resumed.
    let mut again = Run::resume(&setup, run.saved());
    let (outcome, memory) = again.go(&setup, &compute, None);
    assert_eq!(outcome.unwrap(), Outcome::Finished("patience"));
    assert_eq!((again.progress.step, memory.events.len()), (8, 1));
}

/// The state of another model is refused before anything is changed.
#[test]
fn carried_arrays_of_another_shape_are_refused() {
    let mut run = Run::new(&setup(CellKind::Lstm, true), 1);
    let carried = run.task.carried();
    let mut short = carried.clone();
    short.pop();
    let mut wide = carried.clone();
    wide[1].shape[1] += 1;
    for (wrong, name) in [(short, "carried.c_l1"), (wide, "carried.c_l0")] {
        let error = run.task.restore(wrong).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(run.task.carried(), carried);
    }
    let before = parameter_bits(run.task.model());
    run.task.restore(carried).unwrap();
    assert_eq!(parameter_bits(run.task.model()), before);
}
