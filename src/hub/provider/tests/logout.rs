//! RP-initiated logout.

use super::*;

impl Rig {
    /// What somebody's browser is answered at the logout endpoint, by a GET: status, where it is sent, the page, its cookies.
    async fn logout(&self, who: Option<&SessionSecret>, params: &[(&str, &str)]) -> (u16, String, String, Vec<String>) {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let mut request = Request::get(format!("{LOGOUT}?{query}"));
        if let Some(who) = who {
            request = request.header("cookie", format!("__Host-gastank={}", who.expose()));
        }
        self.page(request.body(Body::empty()).unwrap()).await
    }

    async fn page(&self, request: Request) -> (u16, String, String, Vec<String>) {
        let response = self.provider.router::<()>().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the body is our own")]
        let page = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let location = parts.headers.get(LOCATION).map_or("", |to| to.to_str().unwrap()).to_owned();
        let cookies = parts.headers.get_all("set-cookie").iter().map(|one| one.to_str().unwrap().to_owned()).collect();
        (parts.status.as_u16(), location, page, cookies)
    }

    async fn id_token(&self, who: &SessionSecret) -> String {
        let (_, answer) = self.redeem(&self.code(who, &[]).await, &[]).await;
        answer["id_token"].as_str().unwrap().to_owned()
    }

    async fn is_signed_in(&self, who: &SessionSecret) -> bool {
        self.provider.sessions.find(who).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn who_shows_the_id_token_of_a_session_signs_it_out_and_has_the_browser_back() {
    let rig = Rig::new().await;
    let (ada, other) = (rig.sign_in().await, rig.sign_in().await);
    let hint = rig.id_token(&ada).await;
    rig.clock.advance(Millis::from_secs(3_600));
    let asked = [("id_token_hint", &*hint), ("post_logout_redirect_uri", AFTER), ("state", "a&b")];
    let (status, to, _, cookies) = rig.logout(Some(&ada), &asked).await;
    assert_eq!(
        (status, &*to),
        (303, "https://app.example/bye?x=1&state=a%26b"),
        "an ID token that has expired will do"
    );
    assert!(!rig.is_signed_in(&ada).await && rig.is_signed_in(&other).await);
    assert!(
        cookies[0].starts_with("__Host-gastank=;") && cookies[1].starts_with("__Host-gastank-out=1"),
        "{cookies:?}"
    );
    let (status, to, ..) = rig.logout(None, &asked).await;
    assert_eq!((status, &*to), (303, "https://app.example/bye?x=1&state=a%26b"), "nobody is signed in, so it is done");
    let (status, to, page, _) = rig.logout(None, &[]).await;
    assert!((status, &*to) == (200, "") && page.contains("You are signed out"), "{page}");
}

#[tokio::test]
async fn without_a_fitting_hint_the_person_is_asked_and_an_address_that_is_not_the_clients_is_not_gone_to() {
    let rig = Rig::new().await;
    let (ada, before) = (rig.sign_in().await, rig.sign_in().await);
    let (hint, of_before) = (rig.id_token(&ada).await, rig.id_token(&before).await);
    let access_token = rig.handle(&ada).await;
    let forged = format!("{}A", &hint[..hint.len() - 1]);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", hint.split('.').nth(1).unwrap());
    for (why, asked) in [
        ("no hint", &[][..]),
        ("another session's", &[("id_token_hint", &*of_before)]),
        ("another client's", &[("id_token_hint", &*hint), ("client_id", &*rig.other.0)]),
        ("forged", &[("id_token_hint", &*forged)]),
        ("unsigned", &[("id_token_hint", &*unsigned)]),
        ("a handle", &[("id_token_hint", &*access_token)]),
        ("twice", &[("id_token_hint", &*hint), ("id_token_hint", &*hint)]),
        ("made up", &[("gastank_proved", "AAAA")]),
    ] {
        let (status, to, page, cookies) = rig.logout(Some(&ada), asked).await;
        assert!((status, &*to) == (200, "") && page.contains("Sign out?") && cookies.is_empty(), "{why}: {page}");
        assert!(rig.is_signed_in(&ada).await, "{why}");
    }
    for evil in
        ["https://app.example/bye", "https://app.example/bye?x=1#", "https://evil.example/", "javascript:1", REDIRECT]
    {
        let asked = [("id_token_hint", &*hint), ("post_logout_redirect_uri", evil), ("client_id", &*rig.client.0)];
        let (status, to, ..) = rig.logout(None, &asked).await;
        assert_eq!((status, &*to), (200, ""), "{evil}");
    }
}

#[tokio::test]
async fn a_form_of_a_client_goes_on_by_a_page_and_its_id_token_is_in_no_address() {
    let rig = Rig::new().await;
    let ada = rig.sign_in().await;
    let hint = rig.id_token(&ada).await;
    let form = [("id_token_hint", &*hint), ("post_logout_redirect_uri", AFTER)];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(LOGOUT).header("content-type", "application/x-www-form-urlencoded");
    let (status, to, page, cookies) = rig.page(request.body(Body::from(form)).unwrap()).await;
    assert_eq!((status, &*to, cookies.len()), (200, "", 0), "{page}");
    assert!(!page.contains(&hint[..64]) && rig.is_signed_in(&ada).await, "nothing has been done yet: {page}");
    let (_, rest) = page.split_once("content=\"0;url=/oauth/logout?gastank_proved=").expect(&page);
    let proved = rest.split('"').next().unwrap();
    let (status, to, ..) = rig.logout(Some(&ada), &[("gastank_proved", proved)]).await;
    assert_eq!((status, &*to), (303, AFTER));
    assert!(!rig.is_signed_in(&ada).await);
    let another = rig.sign_in().await;
    let (status, _, page, _) = rig.logout(Some(&another), &[("gastank_proved", proved)]).await;
    assert!(
        status == 200 && page.contains("Sign out?") && rig.is_signed_in(&another).await,
        "it was another session's"
    );
}
