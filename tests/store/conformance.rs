//! One case for every sentence of the trait's text. Each gets a store of its own, empty, and closes over nothing else.

pub(crate) use super::{accounts::*, belongings::*, limits::*, liveness::*, records::*};

/// Calls the macro `$run` with the names of all cases. A case that is not named here does not compile: it is dead code.
macro_rules! conformance_cases {
    ($run:ident) => {
        $run! {
            an_account_is_made_once_for_an_identity,
            fifty_racing_creations_make_one_account,
            identities_are_compared_as_pairs,
            accounts_are_listed_in_order_in_pages_without_the_deleted,
            an_act_on_another_version_changes_nothing,
            an_act_on_an_unknown_account_conflicts,
            an_act_committed_again_conflicts_and_changes_nothing,
            a_repeated_entry_changes_nothing,
            entries_are_unique_by_source_and_account,
            an_activation_settles_the_old_session_and_opens_the_new,
            a_session_that_was_superseded_cannot_be_half_superseded,
            a_renewal_changes_the_tokens_and_nothing_else,
            of_fifty_racing_acts_one_wins_each_version,
            acts_on_many_accounts_do_not_disturb_each_other,
            the_ledger_is_read_in_pages,
            every_kind_and_source_of_entry_reads_back,
            every_end_reason_reads_back,
            a_checkpoint_is_a_maximum,
            a_checkpoint_for_a_session_that_is_over_or_unknown_changes_nothing,
            a_new_session_does_not_inherit_the_old_ones_checkpoint,
            recovery_finds_exactly_the_open_sessions,
            the_clock_keeps_its_maximum,
            the_clock_is_no_earlier_than_any_act_or_checkpoint,
            deletion_erases_the_person_and_keeps_the_ends,
            an_identity_is_free_again_after_deletion,
            account_keys_come_and_go,
            edges_come_and_go,
            signing_keys_come_and_go,
            debt_is_what_the_entries_owe,
            credit_is_held_once_and_let_go_of_once,
            credit_is_held_up_to_a_limit,
            deletion_lets_go_of_what_is_held,
            what_was_told_is_replaced_by_who_has_read_it,
            of_fifty_racing_tellers_each_is_heard_once,
            deletion_forgets_what_was_told_unless_the_person_is_gone,
            an_act_is_logged_when_it_is_done_and_only_then,
            a_row_of_the_audit_log_is_written_once,
            every_name_of_the_audit_log_reads_back,
            the_audit_log_is_read_by_day_and_by_account_in_pages,
            old_rows_of_the_audit_log_are_dropped_in_pieces,
            status_lists_come_and_go,
            of_fifty_racing_grants_one_wins,
            text_reads_back_as_it_was_written,
            integers_read_back_up_to_their_limits,
            a_closed_store_is_unavailable,
        }
    };
}
