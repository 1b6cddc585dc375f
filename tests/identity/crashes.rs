//! An event whose provider was never answered, since the service died first: it is told again, and takes effect once.

use reqwest::Method;
use serde_json::json;

use super::{
    Stage, accounts, ask, client,
    dying::Dying,
    events::{PATH, ms, set, settings, stage},
    figure,
    handmade::{header, now_s, sign},
    start,
};

/// Durable steps of one event, at most. It is killed after each of them.
const MOST_STEPS: u32 = 12;

#[derive(Clone, Copy, Debug)]
enum Form {
    Bearer,
    Push,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Subscribed,
    PasswordChanged,
    Deleted,
}

/// Somebody whom an event is about.
struct Person {
    name: String,
    what: What,
    event: String,
    /// How many accounts there were before them.
    others: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_after_any_durable_step_an_event_is_told_again_and_takes_effect_once() {
    let dying = Dying::new();
    let mut stage = stage(&dying.variables()).await;
    for form in [Form::Bearer, Form::Push] {
        for what in [What::Subscribed, What::PasswordChanged, What::Deleted] {
            let mut deaths = 0;
            for step in 1..=MOST_STEPS {
                let person = Person::new(&stage, form, what, step).await;
                dying.after(step);
                let answered = tell(&stage, form, &person.event).await;
                dying.not();
                if answered.is_some() {
                    // Nothing was left to be killed after: the steps of before were all there are.
                    person.is_as_told(&stage).await;
                    break;
                }
                deaths += 1;
                stage.service = again(&stage, &dying);
                assert_eq!(tell(&stage, form, &person.event).await, Some(form.accepted()), "{form:?} {what:?} {step}");
                person.is_as_told(&stage).await;
                assert_eq!(tell(&stage, form, &person.event).await, Some(form.accepted()), "{form:?} {what:?} {step}");
                person.is_as_told(&stage).await;
                let repeated = figure(&stage.service, "gastank_account_events_total{outcome=\"repeated\"}").await;
                println!("{form:?} {what:?}: killed after step {step}, then {repeated} of 2 found it dealt with");
                assert!(repeated >= 1.0);
            }
            assert!((3..MOST_STEPS).contains(&deaths), "{form:?} {what:?}: {deaths} deaths");
        }
    }
}

impl Form {
    const fn accepted(self) -> u16 {
        match self {
            Self::Bearer => 200,
            Self::Push => 202,
        }
    }
}

/// Tells an event. `None` if nobody answers.
async fn tell(stage: &Stage, form: Form, event: &str) -> Option<u16> {
    let request = client().post(format!("{}{PATH}", stage.service.http()));
    let request = match form {
        Form::Bearer => request.bearer_auth(event),
        Form::Push => request.header("content-type", "application/secevent+jwt").body(event.to_owned()),
    };
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

/// The service, started on what it left behind.
fn again(stage: &Stage, dying: &Dying) -> super::support::Service {
    let (issuer, slashed) = (stage.provider.issuer(), format!("{}/", stage.provider.issuer()));
    start(&stage.home, &[&settings(&issuer, &slashed)[..], &dying.variables()].concat())
}

impl Person {
    /// Somebody who has signed in, and opened a session if the event is about its end.
    async fn new(stage: &Stage, form: Form, what: What, step: u32) -> Self {
        let name = format!("{form:?}-{what:?}-{step}");
        let others = accounts(&stage.home, &stage.service).await;
        let token = stage.token(&name);
        assert_eq!(stage.see(&token).await.ok()["remaining_s"], 600);
        if !matches!(what, What::Subscribed) {
            ask(&stage.service, Method::POST, "/v1/activate", &token).await.ok();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let at = ms(now_s());
        let (event, said) = match what {
            What::Subscribed => {
                ("subscription-state-change", json!({"capabilities": ["pro"], "isActive": true, "changeTime": at}))
            }
            What::PasswordChanged => ("password-change", json!({"changeTime": at})),
            What::Deleted => ("delete-user", json!({})),
        };
        let event = set(stage, event, &name, &said);
        Self { name, what, event, others }
    }

    /// A token from after the event.
    fn late_token(&self, stage: &Stage) -> String {
        let mut claims = stage.provider.claims(&self.name);
        claims["iat"] = json!(now_s() + 5.0);
        sign(&stage.key, &header(&stage.key), &claims)
    }

    /// The event has had its effect, once.
    async fn is_as_told(&self, stage: &Stage) {
        let token = self.late_token(stage);
        let entries = |source: &'static str| {
            let token = token.clone();
            async move {
                let page = ask(&stage.service, Method::GET, "/v1/account/entries", &token).await.ok();
                page["entries"].as_array().expect("a list").iter().filter(|entry| entry["source"] == source).count()
            }
        };
        match self.what {
            What::Subscribed => {
                assert_eq!(entries("subscription").await, 1, "{}", self.name);
                assert_eq!(stage.see(&token).await.ok()["remaining_s"], 600 + 3600, "{}", self.name);
            }
            What::PasswordChanged => {
                let session = stage.see(&token).await.ok()["session"].clone();
                if session["end_reason"].is_null() {
                    // Opened below, after the change: telling it again must not end it.
                    assert_eq!(entries("session").await, 1, "{}: {session}", self.name);
                    return;
                }
                assert_eq!((&session["end_reason"], entries("session").await), (&json!("logged_out"), 1));
                ask(&stage.service, Method::POST, "/v1/activate", &token).await.ok();
            }
            What::Deleted => {
                stage.see(&token).await.refused("they are gone");
                assert_eq!(accounts(&stage.home, &stage.service).await, self.others, "{}", self.name);
            }
        }
    }
}
