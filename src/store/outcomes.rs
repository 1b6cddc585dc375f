//! What the store answers to a change that may not apply. None of these may be ignored, and none is a bare `bool`: the
//! caller says which outcome it expects by name.

macro_rules! outcomes {
    ($(
        $(#[doc = $about:literal])+
        $name:ident { $(#[doc = $done:literal])+ $yes:ident, $(#[doc = $not:literal])+ $no:ident $(,)? }
    )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[must_use = "the store may not have done what it was asked for"]
        pub enum $name {
            $(#[doc = $done])+
            $yes,
            $(#[doc = $not])+
            $no,
        }

        impl $name {
            /// The outcome of a statement with a condition: whether it was applied.
            pub const fn when(applied: bool) -> Self {
                if applied { Self::$yes } else { Self::$no }
            }
        }
    )+ };
}

outcomes! {
    /// What became of an account that was to be made.
    Created {
        /// It was made by this call.
        New,
        /// The identity has this account already.
        AlreadyThere,
    }

    /// What became of a key that was to be added to an account.
    Added {
        /// The account has the key.
        Done,
        /// There is no such account, or it has been deleted: nothing was added.
        AccountGone,
    }

    /// What became of something that was to be removed.
    Removed {
        /// It was there, and is gone.
        Done,
        /// There is nothing of this name.
        NotThere,
    }

    /// What became of a record that was to be replaced by who had read it.
    Replaced {
        /// It is replaced.
        Done,
        /// Somebody else has changed it since it was read; nothing changed. Read it again and decide anew.
        Outdated,
    }

    /// What became of a status list that was to be leased.
    Leased {
        /// It is leased.
        Done,
        /// There is a list with this id; nothing changed.
        IdTaken,
    }

    /// What became of numbers of a status list that were to be granted.
    Granted {
        /// They are granted to the caller alone.
        Done,
        /// Somebody else had them, there is no such list, or it retires; nothing changed.
        Refused,
    }

    /// What became of a status list that was to retire.
    Retired {
        /// It takes no more tokens.
        Done,
        /// There is no such list.
        NotThere,
    }

    /// What became of a numbered term (an era, the ownership of a list) that was to begin.
    Begun {
        /// It has begun, and is the caller's.
        Ours,
        /// Its number is not the next one, or somebody else was faster; nothing changed.
        NotNext,
    }
}
