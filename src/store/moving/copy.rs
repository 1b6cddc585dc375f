//! The way from one store to the other: reading, copying, comparing.

use std::{fmt, time::Duration};

use tokio::sync::mpsc;

use crate::{
    store::{Result, StoreError},
    time::UnixMs,
};

use super::{Difference, Mark, Moving, Row, Source, Table, Tally, Target, tally::Search};

/// Pages that are read ahead.
const AHEAD: usize = 2;
/// How often something is tried, when the target cannot do it.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading what the source has.
    Reading,
    /// Copying it.
    Copying,
    /// Reading both again, to compare them.
    Comparing,
}

impl Step {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Copying => "copying",
            Self::Comparing => "comparing",
        }
    }
}

/// Who is told how far a copy is.
pub trait Watch: Send + Sync {
    /// So many rows are done, of so many if that is known. Told often.
    fn at(&self, step: Step, done: u64, of: Option<u64>);
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many rows of each table both stores have.
    pub rows: Vec<(Table, u64)>,
    /// How many rows were there already when this began, of a copy that had been interrupted.
    pub resumed_at: u64,
    /// Since when the target has been complete, if it was before this began. It was not compared again.
    pub since: Option<UnixMs>,
}

/// Why a copy has not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A store does not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the target has is of another source, or of this one before it changed.
    #[error(
        "the target has {state} of {name}, which is not what {asked} holds now. Where it is the same store, a service has \
         run on it since. Drop the target to begin anew, or choose another",
        state = if *ended { "a copy" } else { "a part" }
    )]
    Other {
        /// What the target's source is called.
        name: String,
        /// What this source is called.
        asked: String,
        /// Whether that copy had ended.
        ended: bool,
    },
    /// Both have been compared, and are not the same.
    #[error("the target is not the same as the source: {}", Listed(.0))]
    Differs(Vec<Difference>),
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, difference) in self.0.iter().enumerate() {
            write!(f, "{}{difference}", if at == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

/// Copies all that `source` holds into `target`, or what is left of it to copy, and compares both. Nobody may use either.
///
/// # Errors
///
/// [`MoveError`]. Unless it is [`MoveError::Other`], the same may be asked for again, and goes on where it was.
pub async fn copy(
    source: &dyn Source,
    target: &dyn Target,
    name: &str,
    wall: &(dyn Fn() -> UnixMs + Send + Sync),
    watch: &dyn Watch,
) -> std::result::Result<Copied, MoveError> {
    let mut expected = Tally::default();
    let total = each_row(source, |done, row| {
        watch.at(Step::Reading, done, None);
        target.expect(row, &mut |mark| expected.add(&mark))
    })
    .await?;
    let digest = expected.digest();
    let copied = |resumed_at, since| Copied { rows: expected.truths(), resumed_at, since };
    let resumed_at = match target.moving().await? {
        Some(Moving { source, name: its, ended, .. }) if source != digest => {
            return Err(MoveError::Other { name: its, asked: name.to_owned(), ended: ended.is_some() });
        }
        Some(Moving { rows, ended: Some(since), .. }) => return Ok(copied(rows, Some(since))),
        Some(Moving { rows, ended: None, .. }) => rows.min(total),
        None => {
            let moving = Moving { source: digest, name: name.to_owned(), rows: 0, ended: None };
            patiently(async || target.begin(&moving).await).await?;
            0
        }
    };
    write(source, target, &digest, (resumed_at, total), watch).await?;
    if let Some(differences) = compare(source, target, watch).await? {
        // What is missing is written by the next run, from the beginning.
        patiently(async || target.reach(&digest, 0).await).await?;
        return Err(MoveError::Differs(differences));
    }
    patiently(async || target.end(&digest, wall()).await).await?;
    Ok(copied(resumed_at, None))
}

/// Writes the rows from `from` on.
async fn write(
    source: &dyn Source,
    target: &dyn Target,
    digest: &[u8; 32],
    (from, total): (u64, u64),
    watch: &dyn Watch,
) -> Result<()> {
    watch.at(Step::Copying, from, Some(total));
    let (pages, mut taken) = mpsc::channel::<Vec<Row>>(AHEAD);
    let taking = async move {
        let mut done = 0_u64;
        while let Some(page) = taken.recv().await {
            let here = usize::try_from(from.saturating_sub(done)).unwrap_or(usize::MAX).min(page.len());
            done += page.len() as u64;
            if here < page.len() {
                patiently(async || target.write(&page[here..]).await).await?;
                patiently(async || target.reach(digest, done).await).await?;
                watch.at(Step::Copying, done, Some(total));
            }
        }
        Ok(())
    };
    both(source.read_out(pages), taking).await
}

/// Compares both. `None` if they are the same.
async fn compare(source: &dyn Source, target: &dyn Target, watch: &dyn Watch) -> Result<Option<Vec<Difference>>> {
    let (mut here, mut there) = (Tally::default(), Tally::default());
    let mut done = 0;
    each_row(source, |_, row| target.expect(row, &mut |mark| here.add(&mark))).await?;
    let all = here.marks();
    target
        .survey(&mut |mark: Mark| {
            there.add(&mark);
            done += 1;
            watch.at(Step::Comparing, done, Some(all));
        })
        .await?;
    let mut search: Search = here.differing(&there);
    if search.is_empty() {
        return Ok(None);
    }
    each_row(source, |_, row| target.expect(row, &mut |mark| search.see(true, mark))).await?;
    target.survey(&mut |mark| search.see(false, mark)).await?;
    Ok(Some(search.differences(&here, &there)))
}

/// Reads the source; answers how many rows there were.
async fn each_row(source: &dyn Source, mut see: impl FnMut(u64, &Row) -> Result<()> + Send) -> Result<u64> {
    let (pages, mut taken) = mpsc::channel::<Vec<Row>>(AHEAD);
    let mut done = 0;
    let taking = async {
        while let Some(page) = taken.recv().await {
            for row in &page {
                done += 1;
                see(done, row)?;
            }
            // What waits beside this has its turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    // Moved in, so that nobody sends to who has gone.
    both(source.read_out(pages), taking).await?;
    Ok(done)
}

/// Waits for who sends and who takes. An error of the one who takes is why the one who sends had to stop.
async fn both(sending: impl Future<Output = Result<()>>, taking: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(sending, taking);
    let mut sent = None;
    loop {
        tokio::select! {
            biased;
            taken = &mut taking => {
                taken?;
                return match sent {
                    Some(()) => Ok(()),
                    None => sending.await,
                };
            }
            done = &mut sending, if sent.is_none() => {
                done?;
                sent = Some(());
            }
        }
    }
}

/// Does what may be repeated, until the target can do it.
async fn patiently(mut attempt: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut patience = Patience::default();
    loop {
        match attempt().await {
            Err(error) => patience.after(error).await?,
            done => return done,
        }
    }
}

/// How often something has been tried that may be repeated.
#[derive(Debug, Default)]
pub(in crate::store) struct Patience(u32);

impl Patience {
    /// Waits a moment; if that cannot help, or has not, it is the error that was.
    pub(in crate::store) async fn after(&mut self, error: StoreError) -> Result<()> {
        self.0 += 1;
        match error {
            StoreError::Unavailable(why) if self.0 < TRIES => {
                tracing::warn!(error = why, "the target does not answer as it should; trying again");
                tokio::time::sleep(BETWEEN_TRIES).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}
