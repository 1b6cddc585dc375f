//! What pages say, in each language. A text that one language lacks does not compile.

use hyper::{HeaderMap, header::ACCEPT_LANGUAGE};

use crate::{engine::EntryKind, wire::EndReason};

/// Languages of a request that are looked at.
const MAX_LANGUAGES: usize = 16;

macro_rules! catalogue {
    ($( $(#[$doc:meta])* $name:ident ),+ $(,)?) => {
        /// Everything that pages say, in one language.
        #[derive(Debug)]
        pub(in crate::hub) struct Text {
            /// Its tag (BCP 47).
            pub(in crate::hub) lang: &'static str,
            /// Months, in short.
            pub(super) months: [&'static str; 12],
            $( $(#[$doc])* pub(in crate::hub) $name: &'static str, )+
        }
    };
}

catalogue! {
    skip, nav, account, sign_ins, ledger, sign_out, sign_in, development,
    // Sign-in.
    choose_provider, choose_hint, continue_with, signed_out, signed_out_hint,
    sign_out_ask, sign_out_ask_hint, stay,
    // The tank.
    tank, left, draining, draining_since, resting, empty, empty_hint, switch_off, switch_off_hint, buy, earn, last_update,
    // Its use.
    recent, no_use, ended,
    // Keys.
    keys, keys_hint, no_keys, made, remove, new_key, your_key, your_key_hint, back,
    // Sign-ins.
    sign_ins_hint, provider, signed_in_at, last_seen, ends, this_one, end, end_others, end_all, end_all_hint, only_one,
    // The ledger.
    ledger_title, ledger_hint, balance_over_time, no_entries, when, what, amount, balance, older, newest,
    // Trouble.
    to_account, try_again,
    not_found, not_found_hint, expired, expired_hint, over, over_hint, denied, denied_hint, refused, refused_hint, forged, forged_hint,
    too_slow, too_slow_hint, too_long, too_long_hint, misconfigured, misconfigured_hint,
    unavailable, unavailable_hint, provider_down, provider_down_hint, too_often, too_often_hint, full, full_hint, no_sign_in, no_sign_in_hint,
    // The development provider.
    dev_title, dev_hint, dev_name, dev_go, onward, onward_hint, go_on,
    // Kinds of ledger entries.
    purchase, reward, grant, usage, refund, expiry, repayment,
    // Why sessions ended.
    superseded, exhausted, timed_out, deactivated, revoked, logged_out, account_deleted, session_expired,
    // Units.
    day, hour, minute, second,
}

/// English.
pub(super) static ENGLISH: Text = Text {
    lang: "en",
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    skip: "Skip to the content",
    nav: "Pages of your account",
    account: "Account",
    sign_ins: "Sign-ins",
    ledger: "Ledger",
    sign_out: "Sign out",
    sign_in: "Sign in",
    development: "Development: anybody may sign in here as anybody. Never use it with real people.",
    choose_provider: "Sign in",
    choose_hint: "Choose where you have an account. We never see your password.",
    continue_with: "Continue with",
    signed_out: "You are signed out",
    signed_out_hint: "This browser has no access to your account any more. Your other devices stay signed in.",
    sign_out_ask: "Sign out?",
    sign_out_ask_hint: "An app asks to sign you out here. Your other devices stay signed in.",
    stay: "Stay signed in",
    tank: "Your tank",
    left: "left",
    draining: "Draining",
    draining_since: "Started",
    resting: "Not in use",
    empty: "Empty",
    empty_hint: "Nothing is left in your tank.",
    switch_off: "End the session",
    switch_off_hint: "Ends the session on the device that uses your tank.",
    buy: "Buy time",
    earn: "Earn time",
    last_update: "The tank drains only while a device is in use.",
    recent: "Recent use",
    no_use: "No session has ended yet.",
    ended: "Ended",
    keys: "Account keys",
    keys_hint: "A key lets an app or a device use your tank without signing in. Whoever has it can spend your time.",
    no_keys: "You have no account keys.",
    made: "Created",
    remove: "Remove",
    new_key: "Create a key",
    your_key: "Your new key",
    your_key_hint: "Copy it now. We keep only a fingerprint of it and cannot show it again.",
    back: "Back to your account",
    sign_ins_hint: "Browsers that are signed in to your account. End what you do not recognise.",
    provider: "Signed in with",
    signed_in_at: "Signed in",
    last_seen: "Last active",
    ends: "Ends",
    this_one: "This browser",
    end: "End",
    end_others: "End all others",
    end_all: "End all, this one too",
    end_all_hint: "After “End all”, every browser has to sign in again.",
    only_one: "You are signed in nowhere else.",
    ledger_title: "Ledger",
    ledger_hint: "Every second that came into your tank or was used, newest first. Entries never change.",
    balance_over_time: "Balance over time",
    no_entries: "There are no entries yet.",
    when: "When",
    what: "What",
    amount: "Amount",
    balance: "Balance",
    older: "Older entries",
    newest: "Newest entries",
    to_account: "Go to your account",
    try_again: "Try again",
    not_found: "There is nothing here",
    not_found_hint: "The page may have moved, or the address has a typing error.",
    expired: "Your sign-in has expired",
    expired_hint: "Nothing was changed. Sign in and do it again.",
    over: "This sign-in is over",
    over_hint: "It took longer than ten minutes, or was finished in another tab. Start again.",
    denied: "You were not signed in",
    denied_hint: "The provider said that you stopped, or that you may not sign in.",
    refused: "The provider's answer cannot be used",
    refused_hint: "It does not belong to this sign-in. Start again; tell the operator of this service if it happens twice.",
    forged: "This came from another page",
    forged_hint: "Nothing was changed. Open your account here and do it again.",
    too_slow: "The form did not arrive in time",
    too_slow_hint: "Nothing was changed. Check your connection and do it again.",
    too_long: "The form is too long",
    too_long_hint: "Nothing was changed. Open your account here and do it again.",
    misconfigured: "Sign-in is not set up correctly",
    misconfigured_hint: "The sign-in provider does not accept this service. Please tell its operator: the log has the cause.",
    unavailable: "The service cannot answer now",
    unavailable_hint: "You stay signed in and nothing is lost. Try again in a moment.",
    provider_down: "The sign-in provider does not answer",
    provider_down_hint: "It is not your fault. Try again in a few minutes.",
    too_often: "Too many attempts",
    too_often_hint: "Wait a moment, then try again.",
    full: "There is no room for another key",
    full_hint: "You have as many keys as one person may have. Remove one that you no longer use first.",
    no_sign_in: "Sign-in is not set up",
    no_sign_in_hint: "The operator of this service has to configure an identity provider.",
    dev_title: "Who are you?",
    dev_hint: "This provider is for development. Type any name: the same name is the same person.",
    dev_name: "Name",
    dev_go: "Sign in",
    onward: "One moment",
    onward_hint: "This page goes on by itself.",
    go_on: "Continue",
    purchase: "Purchase",
    reward: "Reward",
    grant: "Gift",
    usage: "Use",
    refund: "Refund",
    expiry: "Expiry",
    repayment: "Repayment of debt",
    superseded: "another device took over",
    exhausted: "the tank was empty",
    timed_out: "the device was silent",
    deactivated: "switched off",
    revoked: "revoked",
    logged_out: "signed out",
    account_deleted: "account deleted",
    session_expired: "expired",
    day: "d",
    hour: "h",
    minute: "min",
    second: "s",
};

/// German.
pub(super) static GERMAN: Text = Text {
    lang: "de",
    months: ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sep.", "Okt.", "Nov.", "Dez."],
    skip: "Zum Inhalt springen",
    nav: "Seiten Ihres Kontos",
    account: "Konto",
    sign_ins: "Anmeldungen",
    ledger: "Verlauf",
    sign_out: "Abmelden",
    sign_in: "Anmelden",
    development: "Entwicklung: Hier kann sich jeder als jeder anmelden. Nie mit echten Personen verwenden.",
    choose_provider: "Anmelden",
    choose_hint: "Wählen Sie, wo Sie ein Konto haben. Ihr Passwort sehen wir nie.",
    continue_with: "Weiter mit",
    signed_out: "Sie sind abgemeldet",
    signed_out_hint: "Dieser Browser hat keinen Zugriff mehr auf Ihr Konto. Ihre anderen Geräte bleiben angemeldet.",
    sign_out_ask: "Abmelden?",
    sign_out_ask_hint: "Eine App möchte Sie hier abmelden. Ihre anderen Geräte bleiben angemeldet.",
    stay: "Angemeldet bleiben",
    tank: "Ihr Tank",
    left: "übrig",
    draining: "Läuft",
    draining_since: "Begonnen",
    resting: "Nicht in Gebrauch",
    empty: "Leer",
    empty_hint: "In Ihrem Tank ist nichts mehr.",
    switch_off: "Sitzung beenden",
    switch_off_hint: "Beendet die Sitzung auf dem Gerät, das Ihren Tank verwendet.",
    buy: "Zeit kaufen",
    earn: "Zeit verdienen",
    last_update: "Der Tank leert sich nur, während ein Gerät in Gebrauch ist.",
    recent: "Letzte Nutzung",
    no_use: "Noch keine Sitzung ist zu Ende.",
    ended: "Beendet",
    keys: "Kontoschlüssel",
    keys_hint: "Mit einem Schlüssel verwendet eine App oder ein Gerät Ihren Tank ohne Anmeldung. Wer ihn hat, kann Ihre Zeit verbrauchen.",
    no_keys: "Sie haben keine Kontoschlüssel.",
    made: "Erstellt",
    remove: "Entfernen",
    new_key: "Schlüssel erstellen",
    your_key: "Ihr neuer Schlüssel",
    your_key_hint: "Kopieren Sie ihn jetzt. Wir behalten nur einen Fingerabdruck und können ihn nicht noch einmal zeigen.",
    back: "Zurück zum Konto",
    sign_ins_hint: "Browser, die an Ihrem Konto angemeldet sind. Beenden Sie, was Sie nicht kennen.",
    provider: "Angemeldet mit",
    signed_in_at: "Angemeldet",
    last_seen: "Zuletzt aktiv",
    ends: "Endet",
    this_one: "Dieser Browser",
    end: "Beenden",
    end_others: "Alle anderen beenden",
    end_all: "Alle beenden, auch diese",
    end_all_hint: "Nach „Alle beenden“ muss sich jeder Browser neu anmelden.",
    only_one: "Sie sind sonst nirgends angemeldet.",
    ledger_title: "Verlauf",
    ledger_hint: "Jede Sekunde, die in Ihren Tank kam oder verbraucht wurde, Neues zuerst. Einträge ändern sich nie.",
    balance_over_time: "Guthaben im Lauf der Zeit",
    no_entries: "Es gibt noch keine Einträge.",
    when: "Wann",
    what: "Was",
    amount: "Menge",
    balance: "Guthaben",
    older: "Ältere Einträge",
    newest: "Neueste Einträge",
    to_account: "Zum Konto",
    try_again: "Noch einmal versuchen",
    not_found: "Hier ist nichts",
    not_found_hint: "Die Seite ist umgezogen, oder die Adresse enthält einen Tippfehler.",
    expired: "Ihre Anmeldung ist abgelaufen",
    expired_hint: "Es wurde nichts geändert. Melden Sie sich an und versuchen Sie es noch einmal.",
    over: "Diese Anmeldung ist vorbei",
    over_hint: "Sie hat länger als zehn Minuten gedauert oder wurde in einem anderen Tab beendet. Beginnen Sie noch einmal.",
    denied: "Sie wurden nicht angemeldet",
    denied_hint: "Der Anbieter sagt, dass Sie abgebrochen haben oder sich nicht anmelden dürfen.",
    refused: "Die Antwort des Anbieters ist nicht zu verwenden",
    refused_hint: "Sie gehört nicht zu dieser Anmeldung. Beginnen Sie noch einmal; wenn es wieder geschieht, sagen Sie es dem Betreiber.",
    forged: "Das kam von einer anderen Seite",
    forged_hint: "Es wurde nichts geändert. Öffnen Sie hier Ihr Konto und versuchen Sie es noch einmal.",
    too_slow: "Das Formular ist nicht rechtzeitig angekommen",
    too_slow_hint: "Es wurde nichts geändert. Prüfen Sie Ihre Verbindung und versuchen Sie es noch einmal.",
    too_long: "Das Formular ist zu lang",
    too_long_hint: "Es wurde nichts geändert. Öffnen Sie Ihr Konto hier und versuchen Sie es noch einmal.",
    misconfigured: "Die Anmeldung ist nicht richtig eingerichtet",
    misconfigured_hint: "Der Anmeldedienst nimmt diesen Dienst nicht an. Bitte sagen Sie es dem Betreiber: Die Ursache steht im Protokoll.",
    unavailable: "Der Dienst kann gerade nicht antworten",
    unavailable_hint: "Sie bleiben angemeldet, und nichts geht verloren. Versuchen Sie es gleich noch einmal.",
    provider_down: "Der Anmeldedienst antwortet nicht",
    provider_down_hint: "Es liegt nicht an Ihnen. Versuchen Sie es in ein paar Minuten noch einmal.",
    too_often: "Zu viele Versuche",
    too_often_hint: "Warten Sie einen Moment und versuchen Sie es noch einmal.",
    full: "Für einen weiteren Schlüssel ist kein Platz",
    full_hint: "Sie haben so viele Schlüssel, wie eine Person haben kann. Entfernen Sie zuerst einen, den Sie nicht mehr benutzen.",
    no_sign_in: "Die Anmeldung ist nicht eingerichtet",
    no_sign_in_hint: "Der Betreiber dieses Dienstes muss einen Identitätsanbieter einrichten.",
    dev_title: "Wer sind Sie?",
    dev_hint: "Dieser Anbieter ist für die Entwicklung. Geben Sie irgendeinen Namen ein: Derselbe Name ist dieselbe Person.",
    dev_name: "Name",
    dev_go: "Anmelden",
    onward: "Einen Moment",
    onward_hint: "Diese Seite geht von selbst weiter.",
    go_on: "Weiter",
    purchase: "Kauf",
    reward: "Belohnung",
    grant: "Geschenk",
    usage: "Nutzung",
    refund: "Erstattung",
    expiry: "Verfall",
    repayment: "Ausgleich von Schuld",
    superseded: "ein anderes Gerät hat übernommen",
    exhausted: "der Tank war leer",
    timed_out: "das Gerät war still",
    deactivated: "ausgeschaltet",
    revoked: "widerrufen",
    logged_out: "abgemeldet",
    account_deleted: "Konto gelöscht",
    session_expired: "abgelaufen",
    day: "T",
    hour: "Std.",
    minute: "Min.",
    second: "s",
};

impl Text {
    /// The texts in the language that a request prefers: `Accept-Language` (RFC 9110, 12.5.4), else English.
    pub(in crate::hub) fn of(headers: &HeaderMap) -> &'static Self {
        let wanted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best: (u32, &'static Self) = (0, &ENGLISH);
        for range in wanted.split(',').take(MAX_LANGUAGES) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), weight).unwrap_or(0);
            let primary = tag.split('-').next().unwrap_or_default();
            let text = [&ENGLISH, &GERMAN].into_iter().find(|text| text.lang.eq_ignore_ascii_case(primary));
            if let Some(text) = text.filter(|_| weight > best.0) {
                best = (weight, text);
            }
        }
        best.1
    }

    /// What a ledger entry stands for.
    pub(super) const fn kind(&self, kind: EntryKind) -> &'static str {
        match kind {
            EntryKind::Purchase => self.purchase,
            EntryKind::Reward => self.reward,
            EntryKind::Grant => self.grant,
            EntryKind::Usage => self.usage,
            EntryKind::Refund => self.refund,
            EntryKind::Expiry => self.expiry,
            EntryKind::Repayment => self.repayment,
        }
    }

    /// Why a session ended.
    pub(super) const fn reason(&self, reason: EndReason) -> &'static str {
        match reason {
            EndReason::Superseded => self.superseded,
            EndReason::Exhausted => self.exhausted,
            EndReason::TimedOut => self.timed_out,
            EndReason::Deactivated => self.deactivated,
            EndReason::Revoked => self.revoked,
            EndReason::LoggedOut => self.logged_out,
            EndReason::AccountDeleted => self.account_deleted,
            EndReason::Expired => self.session_expired,
        }
    }
}

/// A weight in thousandths.
fn weight(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some((whole.parse::<u32>().ok()? * 1000 + digits.parse::<u32>().ok()?).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_in_the_language_that_it_prefers() {
        let of = |value: &str| {
            let headers: HeaderMap = [(ACCEPT_LANGUAGE, value.parse().unwrap())].into_iter().collect();
            Text::of(&headers).lang
        };
        for (wanted, lang) in [
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en-US,en;q=0.9,de;q=0.8", "en"),
            ("fr,de;q=0.2", "de"),
            ("de;q=0.1,en;q=0.15", "en"),
            ("de;q=0", "en"),
            ("fr", "en"),
            ("", "en"),
            ("*", "en"),
            ("de;q=x", "en"),
            ("DE", "de"),
        ] {
            assert_eq!(of(wanted), lang, "{wanted}");
        }
        assert_eq!(Text::of(&HeaderMap::new()).lang, "en");
    }
}
