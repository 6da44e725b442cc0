use proptest::prelude::*;

use super::*;
use crate::train::Budget;

fn toml(text: &str) -> Settings {
    Settings::from_toml(text, "test.toml").unwrap()
}

fn refused(text: &str) -> (String, String) {
    let error = toml(text).resolve().unwrap_err();
    (error.to_string(), error.hint().unwrap().to_owned())
}

fn unread(text: &str) -> (String, String) {
    let error = Settings::from_toml(text, "my.toml").unwrap_err();
    (error.to_string(), error.hint().unwrap().to_owned())
}

#[test]
fn nothing_given_is_the_defaults() {
    let resolved = Settings::default().resolve().unwrap();
    assert_eq!(resolved.task, Task::Lm);
    assert_eq!(resolved.model.cell, CellKind::Lstm);
    assert_eq!(resolved.model.forget_bias, Some(1.0));
    assert_eq!(resolved.budget, Budget::Epochs(10.0));
    assert_eq!(resolved.validation, Portion::Fraction(0.1));
    assert_eq!(resolved.test, Portion::None);
    assert_eq!(
        (resolved.eval_every, resolved.save_every, resolved.patience),
        (None, None, None)
    );
}

#[test]
fn every_default_row_is_a_setting_and_holds() {
    for row in DEFAULTS {
        assert!(Settings::KEYS.contains(&row.key), "{}", row.key);
        let mut settings = match row.when {
            When::Always => Settings::default(),
            When::Words => Settings {
                tokens: Some(TokenKind::Word),
                ..Settings::default()
            },
            When::Cell(cell) => Settings {
                cell: Some(cell),
                ..Settings::default()
            },
            When::Optimizer(kind) => Settings {
                optimizer: Some(kind),
                ..Settings::default()
            },
        };
        settings.task = row.tasks.first().copied();
        if row.key == "window" {
            settings.cell = Some(CellKind::Mlp);
        }
        let resolved = settings.resolve().unwrap().to_toml();
        let line = format!("{} = {}\n", row.key, row.value);
        assert!(resolved.contains(&line), "{line}not in\n{resolved}");
    }
}

#[test]
fn every_cell_with_every_init_and_optimizer_has_defaults() {
    for (cell, init) in CellKind::ALL
        .iter()
        .flat_map(|c| Init::ALL.iter().map(move |i| (c, i)))
    {
        for optimizer in OptimizerKind::ALL {
            let settings = Settings {
                cell: Some(*cell),
                init: Some(*init),
                optimizer: Some(*optimizer),
                ..Settings::default()
            };
            settings.resolve().unwrap();
        }
    }
}

#[test]
fn the_demo_recipe_resolves_and_gives_way_to_flags() {
    let demo = Settings::demo(Task::Lm).unwrap();
    assert!(demo.clone().resolve().unwrap().patience.is_some());
    for flags in [
        "cell = \"gru\"",
        "cell = \"rnn\"\nnonlinearity = \"relu\"",
        "optimizer = \"sgd\"",
        "tie_weights = true",
        "steps = 5",
        "minutes = 1.5",
        "tokens = \"byte\"",
    ] {
        toml(flags).or(demo.clone()).resolve().unwrap();
    }
}

#[test]
fn a_flag_replaces_what_hangs_together() {
    let recipe = toml(
        "epochs = 3\nforget_bias = 2\nlearning_rate = 0.01\nmomentum = 0.5\noptimizer = \"sgd\"",
    );
    let merged = toml("steps = 7\ncell = \"gru\"\noptimizer = \"adam\"").or(recipe.clone());
    assert_eq!(merged.epochs, None);
    assert_eq!(merged.steps, Some(7));
    assert_eq!(
        (merged.forget_bias, merged.momentum, merged.learning_rate),
        (None, None, None)
    );
    let merged = toml("batch = 3").or(recipe.clone());
    assert_eq!(
        (merged.epochs, merged.momentum, merged.learning_rate),
        (Some(3.0), Some(0.5), Some(0.01))
    );
    let merged = toml("optimizer = \"adamw\"").or(toml("learning_rate = 0.01\nweight_decay = 0.1"));
    assert_eq!(
        (merged.learning_rate, merged.weight_decay),
        (Some(0.01), None)
    );

    let waits = toml("patience = 8\nvalidation = 0.2");
    let merged = toml("validation = \"none\"").or(waits.clone());
    assert_eq!(merged.patience, Some(Limit::None));
    assert!(toml("validation = 0.3").or(waits).patience.is_some());

    for (from, to, kept) in [
        ("adamw", "adam", true),
        ("adam", "rmsprop", false),
        ("rmsprop", "adagrad", false),
        ("adagrad", "adamw", false),
    ] {
        let recipe = toml(&format!("learning_rate = 0.01\noptimizer = \"{from}\""));
        let merged = toml(&format!("optimizer = \"{to}\"")).or(recipe);
        assert_eq!(merged.learning_rate.is_some(), kept, "{from} to {to}");
    }

    let tied = toml("tie_weights = true\nembedding_size = 64\nhidden_size = 64");
    let resolved = toml("hidden_size = 32").or(tied.clone()).resolve().unwrap();
    assert_eq!(
        (resolved.model.embedding_size, resolved.model.hidden_size),
        (32, 32)
    );
    let resolved = toml("tie_weights = false\nhidden_size = 32")
        .or(tied)
        .resolve()
        .unwrap();
    assert_eq!(
        (resolved.model.embedding_size, resolved.model.hidden_size),
        (64, 32)
    );
}

#[test]
fn what_only_words_have_is_refused_by_name() {
    let (message, hint) = refused("min_count = 2");
    assert_eq!(
        message,
        "`min-count` is 2, expected nothing: `tokens char` has no such setting"
    );
    assert_eq!(hint, "leave it out, or give `--tokens word`");
    let (message, _) = refused("tokens = \"bpe:300\"\nlowercase = true");
    assert_eq!(
        message,
        "`lowercase` is true, expected nothing: `tokens bpe:300` has no such setting"
    );
    let (message, _) = refused("tokens = \"word\"\nmin_count = 0");
    assert_eq!(message, "`min-count` is 0, expected 1 or more");
    let words = toml("tokens = \"word\"\nmin_count = 3\nlowercase = true");
    let resolved = words.clone().resolve().unwrap();
    assert_eq!(
        (resolved.words.min_count, resolved.words.lowercase),
        (3, true)
    );
    let merged = toml("tokens = \"byte\"").or(words);
    assert_eq!((merged.min_count, merged.lowercase), (None, None));
    let error = Settings::from_toml("tokens = \"bpe:3\"", "a.toml").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`char`, `byte`, `word` or `bpe:N`"),
        "{error}"
    );
}

#[test]
fn what_the_cell_or_optimizer_does_not_have_is_refused_by_name() {
    let (message, hint) = refused("cell = \"lstm\"\nnonlinearity = \"relu\"");
    assert_eq!(
        message,
        "`nonlinearity` is `relu`, expected nothing: `cell lstm` has no such setting"
    );
    assert_eq!(hint, "leave it out, or give `--cell rnn` or `--cell mlp`");
    assert!(
        refused("cell = \"gru\"\nforget_bias = 1")
            .0
            .starts_with("`forget-bias` is 1, expected nothing")
    );
    assert!(
        refused("cell = \"rnn\"\nforget_bias = \"none\"")
            .0
            .starts_with("`forget-bias` is `none`")
    );
    assert!(
        refused("momentum = 0.9")
            .0
            .contains("`optimizer adam` has no such setting")
    );
}

#[test]
fn values_out_of_range_are_refused_by_the_name_of_their_flag() {
    for (setting, message) in [
        ("hidden_size = 0", "`hidden-size` is 0, expected 1 to 65536"),
        (
            "hidden_size = 65537",
            "`hidden-size` is 65537, expected 1 to 65536",
        ),
        ("num_layers = 0", "`num-layers` is 0, expected 1 to 1024"),
        (
            "embedding_size = 0",
            "`embedding-size` is 0, expected 1 to 65536",
        ),
        (
            "dropout = 1",
            "`dropout` is 1, expected a number from 0 to below 1",
        ),
        (
            "dropout = -0.1",
            "`dropout` is -0.1, expected a number from 0 to below 1",
        ),
        (
            "dropout = nan",
            "`dropout` is NaN, expected a number from 0 to below 1",
        ),
        (
            "learning_rate = 0",
            "`learning-rate` is 0, expected a number above 0",
        ),
        (
            "learning_rate = inf",
            "`learning-rate` is inf, expected a number above 0",
        ),
        (
            "weight_decay = -1",
            "`weight-decay` is -1, expected a number of 0 or more",
        ),
        (
            "clip_norm = 0",
            "`clip-norm` is 0, expected a number above 0 or `none`",
        ),
        (
            "forget_bias = inf",
            "`forget-bias` is inf, expected a finite number",
        ),
        (
            "optimizer = \"sgd\"\nmomentum = 1.0",
            "`momentum` is 1, expected a number from 0 to below 1",
        ),
        ("batch = 0", "`batch` is 0, expected 1 to 65536"),
        ("bptt = 0", "`bptt` is 0, expected 1 to 16777216"),
        ("steps = 0", "`steps` is 0, expected 1 or more"),
        ("epochs = 0.0", "`epochs` is 0, expected a number above 0"),
        ("minutes = -2", "`minutes` is -2, expected a number above 0"),
        ("eval_every = 0", "`eval-every` is 0, expected 1 or more"),
        ("save_every = 0", "`save-every` is 0, expected 1 or more"),
        ("patience = 0", "`patience` is 0, expected 1 or more"),
        (
            "validation = 1.0",
            "`validation` is 1, expected a fraction from 0 to below 1, a path or `none`",
        ),
        (
            "validation = \"-\"",
            "`validation` is standard input, expected a fraction, a path or `none`",
        ),
        (
            "validation = 0.5\ntest = 0.5",
            "`validation` is 1 together with `test`, expected less than 1, so that something is left to learn from",
        ),
        (
            "validation = \"none\"\nschedule = \"plateau\"",
            "`schedule` is `plateau`, expected another schedule, since nothing is held back for validation",
        ),
        (
            "validation = \"none\"\npatience = 3",
            "`patience` is 3, expected `none`, since nothing is held back for validation",
        ),
        (
            "data = [\"-\", \"-\"]",
            "`data` is standard input twice, expected `-` at most once",
        ),
        (
            "data = [\"\"]",
            "`data` is an empty path, expected the path of a file or folder",
        ),
        (
            "steps = 3\nepochs = 1",
            "`epochs` is 1, expected nothing beside `steps`: a run has one budget",
        ),
        (
            "tie_weights = true\nembedding_size = 8",
            "`embedding-size` is 8, expected 256, the hidden size, since the weights are tied",
        ),
    ] {
        assert_eq!(refused(setting).0, message);
    }
}

#[test]
fn unreadable_toml_is_refused_with_its_place() {
    assert_eq!(
        unread("# sizes\nhiden_size = 3\n"),
        (
            "`my.toml`, line 2, column 1: found unknown key `hiden_size`, expected a setting"
                .into(),
            "did you mean `hidden_size`?".into()
        )
    );
    assert_eq!(unread("hidden-size = 3").1, "did you mean `hidden_size`?");
    assert!(
        unread("colour = 3")
            .1
            .starts_with("the settings are: task, data, ")
    );
    for (text, message) in [
        (
            "cell = \"lstn\"",
            "column 8: found unknown variant `lstn`, expected one of `rnn`, `gru`, `lstm`, `mlp`",
        ),
        (
            "batch = \"big\"",
            "column 9: found string \"big\", expected u64",
        ),
        ("batch = -1", "column 9: found integer `-1`, expected u64"),
        (
            "bptt = \"half\"",
            "column 8: found string \"half\", expected a whole number or `full`",
        ),
        (
            "bptt = 1.5",
            "column 8: found floating point `1.5`, expected a whole number or `full`",
        ),
        (
            "clip_norm = true",
            "column 13: found boolean `true`, expected a number or `none`",
        ),
        (
            "validation = []",
            "column 14: found sequence, expected a fraction, a path or `none`",
        ),
        (
            "seed = 1\nseed = 2",
            "line 2, column 1: found duplicate key, expected TOML",
        ),
    ] {
        let found = unread(text).0;
        assert!(found.ends_with(message), "{text}: {found}");
    }
}

#[test]
fn a_recipe_file_is_read_with_paths_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    std::fs::write(
        &path,
        "data = [\"a.txt\", \"-\", \"/b.txt\"]\nvalidation = \"v.txt\"",
    )
    .unwrap();
    let settings = Settings::read(&path).unwrap();
    let data = vec![folder.path().join("a.txt"), "-".into(), "/b.txt".into()];
    assert_eq!(settings.data, Some(data));
    assert_eq!(
        settings.validation,
        Some(Portion::File(folder.path().join("v.txt")))
    );

    std::fs::write(&path, b"seed = 1\n\xff").unwrap();
    let error = Settings::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("line 2, column 1: found a byte that is not UTF-8"),
        "{error}"
    );
    std::fs::write(&path, vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
    assert!(
        Settings::read(&path)
            .unwrap_err()
            .to_string()
            .contains("larger than a recipe")
    );
    assert!(matches!(
        Settings::read(folder.path()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn intervals_follow_the_text_unless_given() {
    let resolved = toml("eval_every = 7").resolve().unwrap();
    let train = resolved.train_config(400);
    assert_eq!((train.eval_every, train.save_every), (7, 400));
    let train = Settings::default().resolve().unwrap().train_config(1);
    assert_eq!((train.eval_every, train.save_every), (10, 100));
    let train = Settings::default()
        .resolve()
        .unwrap()
        .train_config(u64::MAX);
    assert_eq!((train.eval_every, train.save_every), (1000, 1000));
}

#[test]
fn a_models_config_has_no_paths_and_reads_back() {
    let settings =
        toml("data = [\"/secret/a.txt\"]\nvalidation = \"/secret/v.txt\"\nsave_every = 3");
    let resolved = settings.resolve().unwrap();
    let config = resolved.model_config_json();
    let json = serde_json::to_string(&config).unwrap();
    assert!(
        !json.contains("secret") && !json.contains("save_every"),
        "{json}"
    );
    assert_eq!(config["hidden_size"], 256);
    assert_eq!(config["clip_norm"], 1.0);
    let value = serde_json::from_str(&json).unwrap();
    let read = Settings::from_model_config(value)
        .unwrap()
        .resolve()
        .unwrap();
    assert_eq!(
        (read.model, read.optimizer),
        (resolved.model, resolved.optimizer)
    );
}

prop_compose! {
    fn model_settings()(
        cell in proptest::sample::select(CellKind::ALL),
        nonlinearity in proptest::option::of(proptest::sample::select(Nonlinearity::ALL)),
        hidden_size in 1_u64..=65_536,
        num_layers in proptest::option::of(1_u64..=64),
        embedding_size in proptest::option::of(1_u64..=65_536),
        dropout in proptest::option::of(0.0..1.0),
        tie_weights in any::<bool>(),
        init in proptest::option::of(proptest::sample::select(Init::ALL)),
        forget_bias in proptest::option::of(proptest::option::of(-1e3..1e3)),
    ) -> Settings {
        Settings {
            cell: Some(cell),
            nonlinearity: nonlinearity.filter(|_| cell == CellKind::Rnn),
            hidden_size: Some(hidden_size),
            num_layers,
            embedding_size: embedding_size.filter(|_| !tie_weights),
            dropout,
            tie_weights: Some(tie_weights),
            init,
            forget_bias: forget_bias.filter(|_| cell == CellKind::Lstm).map(Limit::from),
            ..Settings::default()
        }
    }
}

prop_compose! {
    fn training_settings()(
        optimizer in proptest::sample::select(OptimizerKind::ALL),
        momentum in proptest::option::of(0.0..1.0),
        learning_rate in proptest::option::of(f64::MIN_POSITIVE..1e3),
        weight_decay in proptest::option::of(0.0..10.0),
        clip_norm in proptest::option::of(proptest::option::of(1e-9..1e9)),
        bptt in proptest::option::of(proptest::option::of(1_u64..100_000)),
        carry_state in proptest::option::of(any::<bool>()),
        budget in (0..4, 1_u64..=i64::MAX as u64, 1e-6..1e6),
        every in proptest::option::of((1_u64..=i64::MAX as u64, 1_u64..1000)),
        patience in proptest::option::of(proptest::option::of(1_u64..100)),
        seed in proptest::option::of(0..=i64::MAX as u64),
    ) -> Settings {
        Settings {
            optimizer: Some(optimizer),
            momentum: momentum.filter(|_| optimizer == OptimizerKind::Sgd),
            learning_rate,
            weight_decay,
            clip_norm: clip_norm.map(Limit::from),
            bptt: bptt.map(Chunk::from),
            carry_state,
            steps: (budget.0 == 0).then_some(budget.1),
            epochs: (budget.0 == 1).then_some(budget.2),
            minutes: (budget.0 == 2).then_some(budget.2),
            eval_every: every.map(|every| every.0),
            save_every: every.map(|every| every.1),
            patience: patience.map(Limit::from),
            seed,
            ..Settings::default()
        }
    }
}

prop_compose! {
    fn data_settings()(
        data in proptest::option::of(proptest::collection::vec("[^\0]{1,12}", 0..4)),
        validation in prop_oneof![
            (0.001..0.5).prop_map(Portion::Fraction),
            "[^\0]{2,12}".prop_map(|path| Portion::File(path.into())),
        ],
        test in proptest::option::of((0.0..0.49).prop_map(Portion::from)),
        tokens in proptest::option::of(prop_oneof![
            Just(TokenKind::Char),
            Just(TokenKind::Byte),
            Just(TokenKind::Word),
            (257u32..=65_536).prop_map(TokenKind::Bpe),
        ]),
        (min_count, lowercase) in (proptest::option::of(1u64..9), proptest::option::of(any::<bool>())),
    ) -> Settings {
        let is_word = tokens == Some(TokenKind::Word);
        let (min_count, lowercase) = (min_count.filter(|_| is_word), lowercase.filter(|_| is_word));
        let data = data.map(|paths| paths.into_iter().map(|path| format!("d{path}").into()).collect());
        Settings { data, validation: Some(validation), test, tokens, min_count, lowercase, ..Settings::default() }
    }
}

proptest! {
    /// What `config.toml` keeps is the whole run: it reads back to the same, and writes the same
    /// bytes again.
    #[test]
    fn a_config_reads_back_to_the_same(
        model in model_settings(),
        training in training_settings(),
        data in data_settings(),
        steps_per_epoch in proptest::option::of(any::<u64>()),
    ) {
        let mut resolved = model.or(training).or(data).resolve().unwrap();
        if let Some(steps) = steps_per_epoch {
            resolved.choose_intervals(steps);
        }
        let text = resolved.to_toml();
        let read = Settings::from_toml(&text, "config.toml").unwrap();
        prop_assert_eq!(&read, &resolved.to_settings());
        let again = read.resolve().unwrap();
        prop_assert_eq!(again.to_toml(), text);
        prop_assert_eq!(again, resolved);
    }

    /// A setting given is a setting kept.
    #[test]
    fn the_nearer_setting_wins(near in training_settings(), far in training_settings()) {
        let merged = near.clone().or(far.clone());
        prop_assert_eq!(merged.seed, near.seed.or(far.seed));
        prop_assert_eq!(merged.clip_norm, near.clip_norm.or(far.clip_norm));
        prop_assert_eq!(merged.optimizer, near.optimizer);
        merged.resolve().unwrap();
    }

    /// Any text is settings or an error with a place.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|([a-z_]{1,12} = [-0-9a-z.\"\\[]{1,6}\n){1,4}") {
        match Settings::from_toml(&text, "any.toml") {
            Ok(settings) => drop(settings.resolve()),
            Err(error) => {
                let placed = matches!(error, Error::Data { line: 1.., column: 1.., .. });
                prop_assert!(placed, "{}", error);
            }
        }
    }

    /// No number makes resolving panic.
    #[test]
    fn any_number_is_taken_or_refused(
        key in proptest::sample::select(Settings::KEYS),
        value in prop_oneof![any::<f64>().prop_map(|x| format!("{x:?}").replace("NaN", "nan")), any::<i64>().prop_map(|n| n.to_string())],
    ) {
        if let Ok(settings) = Settings::from_toml(&format!("{key} = {value}"), "any.toml")
            && let Ok(mut resolved) = settings.resolve()
        {
            resolved.choose_intervals(1);
            prop_assert!(!resolved.to_toml().is_empty());
        }
    }
}
