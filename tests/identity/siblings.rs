//! Sibling services of the hub, made with unmodified foreign OpenID libraries (`tests/siblings`): people sign in to them, they
//! validate, and they hear that a hub session has ended. The service's own people come from a real provider, from npm.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    browser::{Browser, Seen},
    pages::hub_of_a_real_provider,
    real::Real,
    support::{Home, Service},
};

/// Pages and redirects from a link to a page at rest, at the most.
const MAX_HOPS: usize = 20;

/// A kind of sibling, and what differs among libraries.
#[derive(Clone, Copy)]
struct Kind {
    program: &'static str,
    script: &'static str,
    callback: &'static str,
    /// Where it is told that a hub session has ended, if the library takes back-channel logouts.
    logout: Option<&'static str>,
    /// Whether what its sign-ins need is in cookies, so that it redeems a code twice for a browser that has kept them.
    redeems_again: bool,
}

const DJANGO: Kind = Kind {
    program: PYTHON,
    script: "django_sibling.py",
    callback: "/oidc/callback/",
    logout: None,
    redeems_again: false,
};
const FLASK: Kind =
    Kind { program: PYTHON, script: "flask_sibling.py", callback: "/callback", logout: None, redeems_again: true };
const EXPRESS: Kind = Kind {
    program: "node",
    script: "express/sibling.mjs",
    callback: "/callback",
    logout: Some("/backchannel-logout"),
    redeems_again: true,
};
const APACHE: Kind = Kind {
    program: PYTHON,
    script: "apache_sibling.py",
    callback: "/oidc/callback",
    logout: Some("/oidc/callback?logout=backchannel"),
    redeems_again: true,
};

const PYTHON: &str = "target/tools/siblings/bin/python";

/// A service of the hub's that runs, until this is dropped.
struct Sibling {
    child: Child,
    url: String,
}

/// The hub, its identity provider, and a person's browser.
struct Scene {
    kind: Kind,
    browser: Browser,
    service: Service,
    home: Home,
    real: Real,
}

/// A client of the hub.
struct Registered {
    client_id: String,
    secret: String,
    /// Where it will listen.
    port: u16,
}

/// Where a browser comes to rest.
struct Rest {
    seen: Seen,
    /// Where it has been, the last first.
    been: Vec<String>,
    /// Whether it was asked for a name on its way.
    asked: bool,
}

impl Sibling {
    fn start(kind: Kind, issuer: &str, client: &Registered) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = root.join("tests/siblings");
        let complete = root.join(PYTHON).exists() && dir.join("express/node_modules/express-openid-connect").exists();
        assert!(complete && has_apache(), "run tests/setup.sh: it installs the libraries of the siblings, and Apache");
        let program = if kind.program == PYTHON { root.join(PYTHON) } else { kind.program.into() };
        let mut child = Command::new(program)
            .arg(dir.join(kind.script))
            .envs([("ISSUER", issuer), ("CLIENT_ID", &client.client_id), ("CLIENT_SECRET", &client.secret)])
            .env("PORT", client.port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        // What it says there must be read, or it waits for ever.
        let mut stderr = child.stderr.take().expect("it is piped");
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            drop(child.stdin.take());
            panic!("{} did not start: {}", kind.script, errors.join().unwrap_or_default())
        });
        Self { child, url: said["listening"].as_str().expect("an address").to_owned() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Sibling {
    /// Its standard input ends, and so does it, with all that it has started.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_apache() -> bool {
    ["/usr/sbin/apache2", "/usr/lib/apache2/modules/mod_auth_openidc.so"].iter().all(|file| Path::new(file).exists())
}

impl Scene {
    fn of(kind: Kind) -> Self {
        let home = Home::new();
        let (real, service) = hub_of_a_real_provider(&home);
        Self { kind, browser: Browser::new(), service, home, real }
    }

    /// Registers a client as an operator does.
    fn register(&self, redirect_path: &str) -> Registered {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        let uri = format!("http://127.0.0.1{redirect_path}");
        let logout = self.kind.logout.map(|path| format!("http://127.0.0.1:{port}{path}"));
        let mut command = vec!["client", "add", "sibling", "--json", "--redirect-uri", &uri];
        if let Some(logout) = &logout {
            command.extend(["--backchannel-logout-uri", logout]);
        }
        let output = self.service.run(&command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let field = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Registered { client_id: field("client_id"), secret: field("client_secret"), port }
    }

    fn sibling(&self, client: &Registered) -> Sibling {
        tokio::task::block_in_place(|| Sibling::start(self.kind, &self.service.http(), client))
    }

    /// Follows a link until a page is at rest, and says who they are where the identity provider asks.
    async fn walk(&mut self, from: &str) -> Rest {
        let (mut url, mut been, mut asked) = (from.to_owned(), Vec::new(), false);
        for _ in 0..MAX_HOPS {
            been.insert(0, url.clone());
            let seen = self.browser.get(&url).await;
            if !seen.to.is_empty() {
                url = seen.to;
                continue;
            }
            if !url.starts_with(self.real.issuer()) {
                return Rest { seen, been, asked };
            }
            let field = |mark: &str| {
                let (_, rest) = seen.page.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {}", seen.page));
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            let (action, prompt) = (field("action=\""), field("name=\"prompt\" value=\""));
            asked = asked || prompt == "login";
            let form = [("prompt", &*prompt), ("login", "ada"), ("password", "any")];
            url = self.browser.post(&action, &form).await.to;
        }
        panic!("{from} leads nowhere: {been:#?}");
    }

    /// What the hub says of the person's handle, asked by the sibling.
    async fn check(&mut self, sibling: &Sibling) -> Value {
        let seen = self.browser.get(&sibling.at("/check")).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        serde_json::from_str(&seen.page).expect("JSON")
    }

    /// Presses a button on the hub's pages.
    async fn press(&mut self, button: &str) {
        let hub = self.service.http();
        let csrf = self.browser.csrf(&hub).await;
        let seen = self.browser.post(&format!("{hub}/account/{button}"), &[("csrf", &csrf)]).await;
        assert!(seen.status < 400, "{seen:?}");
    }

    /// Nobody is signed in at the sibling any more: the hub tells it so, or tells it when it asks.
    async fn is_over(&mut self, sibling: &Sibling) {
        if self.kind.logout.is_none() {
            assert_eq!(self.check(sibling).await, json!({"active": false}), "it is over at once");
            return;
        }
        for _ in 0..200 {
            // Before it is told, it may fail with a handle that is over, which signs nobody out of it.
            if !self.browser.get(&sibling.at("/")).await.to.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the sibling still lets them in: {}", self.home.said());
    }

    /// Forgets what siblings and the identity provider have put into the browser.
    fn forget_all_but_the_hub(&mut self) {
        self.browser.cookies.retain(|name, _| name.starts_with("__Host-"));
    }

    /// The only account that there is.
    async fn account(&self) -> String {
        let request = super::client().get(format!("{}/admin/accounts", self.service.admin()));
        let answer = request.bearer_auth(self.home.admin_token()).send().await.expect("an answer");
        let accounts = super::got(answer).await.ok();
        accounts["accounts"][0]["account"].as_str().unwrap_or_else(|| panic!("{accounts}")).to_owned()
    }
}

impl Rest {
    /// A page that says that something went wrong. Those of mod_auth_openidc come with 200.
    fn is_an_error(&self) -> bool {
        self.seen.status >= 400 || self.seen.page.contains("<title>Error</title>")
    }

    #[track_caller]
    fn page(&self) -> Value {
        assert_eq!(self.seen.status, 200, "{:?} after {:#?}", self.seen, self.been);
        serde_json::from_str(&self.seen.page).unwrap_or_else(|_| panic!("{:?} after {:#?}", self.seen, self.been))
    }
}

/// What every sibling must do, whatever it is made with.
async fn signs_people_in_and_validates(kind: Kind) {
    let mut scene = Scene::of(kind);
    let client = scene.register(kind.callback);
    let sibling = scene.sibling(&client);

    let first = scene.walk(&sibling.at("/")).await;
    assert!(first.asked, "nobody is signed in yet");
    let account = scene.account().await;
    let ada = json!({"sub": account, "name": "ada of the tests", "email": "ada@example.org"});
    assert_eq!(first.page(), ada);
    let checked = scene.check(&sibling).await;
    assert_eq!(
        (&checked["active"], &checked["sub"], &checked["client_id"], &checked["email"]),
        (&json!(true), &ada["sub"], &json!(client.client_id), &ada["email"])
    );

    let pretended = scene.browser.get_as(&sibling.at("/"), &["oidc_claim_sub", "oidc-claim-sub"], "eve").await;
    assert_eq!(serde_json::from_str::<Value>(&pretended.page).ok().as_ref(), Some(&ada), "a header makes nobody else");

    // A code that is used twice.
    scene.forget_all_but_the_hub();
    let authorize = first_redirect(&mut scene, &sibling).await;
    let begun = scene.browser.get(&authorize).await;
    let before = scene.browser.cookies.clone();
    let redeemed = scene.walk(&begun.to).await;
    assert!(!redeemed.asked, "they are signed in at the hub");
    assert_eq!(redeemed.page(), ada);
    let now = std::mem::replace(&mut scene.browser.cookies, before);
    let again = scene.walk(&begun.to).await;
    assert!(again.is_an_error(), "{:?}", again.seen);
    scene.browser.cookies = now;
    assert_eq!(scene.check(&sibling).await["active"], !kind.redeems_again, "what the code was redeemed for has ended");

    // The hub session ends.
    scene.forget_all_but_the_hub();
    let silent = scene.walk(&sibling.at("/")).await;
    assert!(!silent.asked);
    assert_eq!(silent.page(), ada);
    assert_eq!(scene.check(&sibling).await["active"], true);
    scene.press("sign-out").await;
    scene.is_over(&sibling).await;
    if kind.logout.is_some() {
        assert_eq!(scene.walk(&sibling.at("/")).await.page(), ada, "they sign in again");
        scene.press("sessions/end-all").await;
        scene.is_over(&sibling).await;
    }
    drop(sibling);

    // Mistakes of an operator.
    let wrong = Registered { secret: "gts_wrong".to_owned(), ..client };
    let sibling = scene.sibling(&wrong);
    scene.forget_all_but_the_hub();
    let refused = scene.walk(&sibling.at("/")).await;
    assert!(refused.is_an_error() && refused.been[0].starts_with(&sibling.url), "{:?}", refused.seen);
    drop(sibling);
    let elsewhere = scene.register("/elsewhere");
    let sibling = scene.sibling(&elsewhere);
    let refused = scene.walk(&sibling.at("/")).await;
    assert!(refused.seen.status == 400 && refused.seen.page.contains("redirect_uri"), "{:?}", refused.seen);

    let said = scene.home.said();
    assert!(!said.contains("gth_1_") && !said.contains(&*elsewhere.secret), "secrets are in no log: {said}");
}

/// Begins a sign-in at a sibling; answers where it sends the browser at the hub.
async fn first_redirect(scene: &mut Scene, sibling: &Sibling) -> String {
    let mut seen = scene.browser.get(&sibling.at("/")).await;
    // Some have a page of their own between.
    while seen.to.starts_with(&sibling.url) {
        seen = scene.browser.get(&seen.to.clone()).await;
    }
    assert!(seen.to.contains("/oauth/authorize"), "{seen:?}");
    seen.to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_with_mozilla_django_oidc_signs_people_in_and_validates() {
    signs_people_in_and_validates(DJANGO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flask_with_authlib_signs_people_in_and_validates() {
    signs_people_in_and_validates(FLASK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn express_with_express_openid_connect_signs_people_in_and_validates() {
    signs_people_in_and_validates(EXPRESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_with_mod_auth_openidc_signs_people_in_and_validates() {
    signs_people_in_and_validates(APACHE).await;
}
