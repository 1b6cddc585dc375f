//! One deadline for all that is waited for on behalf of one caller.
//!
//! Waits are many: for a turn on an account, for a place in the store's queue, for another program that has locked the data
//! file, for an answer. If each is bounded by itself, they add up. So what is done for a caller is done [`within`] a limit,
//! and whatever waits in it asks when that is over ([`current`]). A deadline belongs to its task; [`carry`] takes it along
//! into another.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    static DEADLINE: Instant;
}

/// It was not done before the deadline, and is not waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not done in time")]
pub struct Late;

/// The instant until which a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a caller waits decides nothing but that it waits no longer"
    )]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// The same instant for threads outside the runtime.
    pub fn into_std(self) -> std::time::Instant {
        self.0.into_std()
    }

    /// Does `work` until then, or until the deadline that it is done under already, whichever comes first.
    ///
    /// # Errors
    ///
    /// [`Late`]: it was dropped where it waited.
    pub fn hold<F: Future>(self, work: F) -> impl Future<Output = Result<F::Output, Late>> {
        // Acts are large: whoever waits for one holds a pointer to it.
        let work = Box::pin(work);
        async move {
            let Self(instant) = current().map_or(self, |outer| outer.min(self));
            timeout_at(instant, DEADLINE.scope(instant, work)).await.map_err(|_| Late)
        }
    }
}

/// Does `work` in so much time at most, and in no more than is left of the deadline that it is done under already.
///
/// # Errors
///
/// [`Late`]: it was dropped where it waited.
pub fn within<F: Future>(limit: Duration, work: F) -> impl Future<Output = Result<F::Output, Late>> {
    Deadline::after(limit).hold(work)
}

/// The deadline that this task's work is done under, if there is one.
pub fn current() -> Option<Deadline> {
    DEADLINE.try_with(|instant| Deadline(*instant)).ok()
}

/// Takes the deadline of this task's work along with `work`, which may be done in another task. Whatever waits in it goes by
/// it; `work` itself is not dropped for it.
pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let deadline = current();
    async move {
        match deadline {
            Some(Deadline(instant)) => DEADLINE.scope(instant, work).await,
            None => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn waits_within_waits_share_the_earliest_deadline() {
        let began = Deadline::after(Duration::ZERO);
        let inner = within(SECOND, within(60 * SECOND, std::future::pending::<()>())).await;
        assert_eq!(inner.map(|inner| inner.is_ok()), Ok(false), "the inner one is told, and can say what it has done");
        assert_eq!(Deadline::after(Duration::ZERO), Deadline(began.0 + SECOND));
        assert_eq!(within(60 * SECOND, within(SECOND, std::future::pending::<()>())).await, Ok(Err(Late)));
        assert_eq!(current(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_taken_into_another_task_and_ends_nothing_there() {
        let (inner, outer) =
            within(SECOND, async { (tokio::spawn(carry(async { current() })).await.unwrap(), current()) })
                .await
                .unwrap();
        assert!(inner.is_some() && inner == outer);
        let slow = within(SECOND, async {
            Some(tokio::spawn(carry(async {
                tokio::time::sleep(2 * SECOND).await;
                7
            })))
        });
        let slow = slow.await.unwrap().unwrap();
        assert_eq!(slow.await.unwrap(), 7);
    }
}
