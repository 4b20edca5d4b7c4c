//! The command line of the orchestrator.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cell::Cell;
use crate::contender::Contender;
use crate::outcome::{Outcome, ensure};

/// What the options are, for those who get them wrong.
const USAGE: &str = "options: [--quick] [--cells small/256x1,stream/1x1@mt,...] \
                     [--contenders raw,tarpc,...] [--rounds N] [--seconds S] [--markdown FILE] \
                     [--against PROGRAM]";

/// How long a quick run may take in all.
const QUICK: Duration = Duration::from_secs(55);

/// What a run consists of.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whether to trade precision for an end within a minute.
    pub(crate) quick: bool,
    pub(crate) cells: Vec<Cell>,
    pub(crate) contenders: Vec<Contender>,
    /// Interleaved repetitions of everything.
    pub(crate) rounds: u32,
    /// Window of one measurement.
    pub(crate) measured: Duration,
    /// Time before the window.
    pub(crate) warm_up: Duration,
    /// No round begins that is not expected to end by then.
    pub(crate) limit: Option<Duration>,
    /// Where the Markdown goes; a quick run writes none unless told to.
    pub(crate) markdown: Option<PathBuf>,
    /// Another build of this program, to be compared with this one.
    pub(crate) against: Option<PathBuf>,
}

/// Reads the options and fills in what they leave open.
pub(crate) fn parse(words: &[&str]) -> Outcome<Options> {
    let (mut quick, mut cells, mut contenders) = (false, None, None);
    let (mut rounds, mut seconds, mut markdown, mut against) = (None, None, None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--quick" {
            quick = true;
            continue;
        }
        let mut value = || words.next().ok_or_else(|| format!("{word} lacks a value; {USAGE}"));
        match *word {
            "--cells" => cells = Some(list::<Cell>(value()?)?),
            "--contenders" => contenders = Some(list::<Contender>(value()?)?),
            "--rounds" => rounds = Some(value()?.parse::<u32>()?),
            "--seconds" => seconds = Some(value()?.parse::<f64>()?),
            "--against" => against = Some(PathBuf::from(value()?)),
            "--markdown" => markdown = Some(PathBuf::from(value()?)),
            _ => return Err(format!("{word} is not an option; {USAGE}").into()),
        }
    }
    let (usual_cells, usual_contenders, usual_rounds) = match (&against, quick) {
        (Some(_), _) => (Cell::busiest(), vec![Contender::Native], 20),
        (None, true) => (Cell::quick(), Contender::ALL.to_vec(), 3),
        (None, false) => (Cell::all(), Contender::ALL.to_vec(), 9),
    };
    let cells = cells.unwrap_or(usual_cells);
    let contenders = contenders.unwrap_or(usual_contenders);
    let rounds = rounds.unwrap_or(usual_rounds);
    let measured = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds)?,
        None if quick => quick_window(cells.len() * contenders.len(), rounds),
        None => Duration::from_secs(1),
    };
    ensure(rounds > 0 && !measured.is_zero(), "nothing to measure: no rounds or no seconds")?;
    let able = |cell: &Cell| contenders.iter().any(|contender| contender.runs(cell));
    ensure(cells.iter().any(able), "none of the contenders runs any of the cells")?;
    Ok(Options {
        quick,
        cells,
        contenders,
        rounds,
        measured,
        warm_up: (measured / 4).min(Duration::from_millis(300)),
        limit: quick.then_some(QUICK),
        markdown,
        against,
    })
}

/// The window with which so many measurements fill a quick run; each costs a quarter more for its
/// warm-up and about a twentieth of a second for its process.
fn quick_window(each_round: usize, rounds: u32) -> Duration {
    let measurements = u32::try_from(each_round).unwrap_or(u32::MAX).max(1) * rounds.max(1);
    let each = Duration::from_secs(40) / measurements;
    let window = each.saturating_sub(Duration::from_millis(50)) * 4 / 5;
    window.clamp(Duration::from_millis(100), Duration::from_secs(1))
}

fn list<T: FromStr<Err = crate::outcome::Fault>>(text: &str) -> Outcome<Vec<T>> {
    text.split(',').map(str::trim).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{QUICK, parse};

    #[test]
    fn a_full_run_has_nine_rounds_of_everything() {
        let options = parse(&[]).unwrap();
        assert!(options.rounds >= 9);
        assert!(options.limit.is_none());
    }

    #[test]
    fn a_quick_run_fits_its_limit() {
        let options = parse(&["--quick"]).unwrap();
        let each = options.measured + options.warm_up + Duration::from_millis(50);
        let measurements = options.cells.len() * options.contenders.len();
        let total = each * u32::try_from(measurements).unwrap() * options.rounds;
        assert!(total < QUICK, "{total:?}");
    }

    #[test]
    fn two_builds_are_compared_by_one_contender_in_twenty_rounds() {
        let options = parse(&["--against", "/tmp/before"]).unwrap();
        assert_eq!((options.cells.len(), options.contenders.len(), options.rounds), (2, 1, 20));
        assert!(options.against.is_some() && parse(&[]).unwrap().against.is_none());
    }

    #[test]
    fn explicit_options_win() {
        let words = ["--quick", "--cells", "64k/1x1@mt", "--contenders", "raw,tarpc"];
        let options =
            parse(&[&words[..], &["--rounds", "2", "--seconds", "0.5"]].concat()).unwrap();
        assert_eq!((options.cells.len(), options.contenders.len(), options.rounds), (1, 2, 2));
        assert_eq!(options.measured, Duration::from_millis(500));
    }

    #[test]
    fn mistakes_are_named() {
        for words in [
            &["--fast"][..],
            &["--cells"],
            &["--cells", "x"],
            &["--rounds", "0"],
            &["--cells", "stream/1x1", "--contenders", "axum"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
