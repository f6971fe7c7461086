"""The portal in a real browser against a running platform.

Needs the platform's address (fixture `hcp_url`, or environment HCP_URL), Chromium and its driver, and selenium.
Without one of them the tests are skipped with a message. Every wait is bounded.
"""

import os
import shutil
import time
import uuid

import pytest
import requests

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = os.environ.get("HCP_CHROMIUM", "/usr/bin/chromium")
DRIVER = os.environ.get("HCP_CHROMEDRIVER", "/usr/bin/chromedriver")
ADMIN = ("admin@mara.com", "admin123")
CUSTOMER = ("john@acme.com", "customer123")
WAIT_S = 120

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
]


@pytest.fixture
def base(request):
    if os.environ.get("HCP_URL"):
        return os.environ["HCP_URL"].rstrip("/")
    try:
        return request.getfixturevalue("hcp_url").rstrip("/")
    except pytest.FixtureLookupError:
        pytest.skip("no platform: set HCP_URL or provide the hcp_url fixture")


@pytest.fixture
def browser(tmp_path):
    for program in (CHROMIUM, DRIVER):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    options = Options()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(WAIT_S)
    try:
        yield driver
    finally:
        driver.quit()


def until(browser, what, condition, seconds=WAIT_S):
    """The first true value of condition(browser); rows that are redrawn meanwhile are looked at again."""
    wait = WebDriverWait(browser, seconds, poll_frequency=0.1, ignored_exceptions=[StaleElementReferenceException])
    try:
        return wait.until(condition)
    except TimeoutException:
        text = browser.find_element(By.TAG_NAME, "body").text
        pytest.fail(f"not within {seconds} s: {what}. The page says:\n{text[:2000]}")


def find(browser, css, what=None, seconds=WAIT_S):
    def visible(b):
        return next((e for e in b.find_elements(By.CSS_SELECTOR, css) if e.is_displayed()), None)

    return until(browser, what or f"{css} is shown", visible, seconds)


def button(browser, text, scope=""):
    def one(b):
        for e in b.find_elements(By.CSS_SELECTOR, f"{scope} button, {scope} a"):
            if e.is_displayed() and e.is_enabled() and e.text.strip() == text:
                return e
        return None

    return until(browser, f"a button “{text}”", one)


def sign_in(browser, base, who):
    browser.get(f"{base}/login")
    find(browser, "#email").send_keys(who[0])
    find(browser, "#password").send_keys(who[1], Keys.ENTER)
    find(browser, "nav[aria-label=Pages]", "the signed-in page")


def go(browser, name):
    button(browser, name, "nav[aria-label=Pages]").click()
    until(browser, f"page {name}", lambda b: b.find_element(By.TAG_NAME, "h1").text == name)


def kpis(browser):
    """The value of each tile of the overview by its name."""
    return browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-kpi]')]"
        ".map(e => [e.dataset.kpi, e.querySelector('[data-value]')?.textContent ?? '']))"
    )


def severe(browser):
    """What the browser complained about, less the refusals that a test asks for."""
    return [
        e["message"]
        for e in browser.get_log("browser")
        if e["level"] == "SEVERE" and "the server responded with a status of 4" not in e["message"]
    ]


def test_landing_leads_to_login(browser, base):
    browser.get(base + "/")
    assert find(browser, "h1").text
    button(browser, "Sign in", "main").click()
    find(browser, "#email")
    assert browser.current_url.endswith("/login")


def test_wrong_password_is_refused(browser, base):
    browser.get(f"{base}/login")
    find(browser, "#email").send_keys(ADMIN[0])
    find(browser, "#password").send_keys("not the password", Keys.ENTER)
    assert "wrong" in find(browser, "[role=alert]").text
    assert not browser.execute_script("return sessionStorage.getItem('hcp.session')")


def test_a_page_address_opens_after_login(browser, base):
    """A deep link is served (fallback to the portal), asks for a login, and then goes on to the page."""
    browser.get(f"{base}/fleet")
    find(browser, "#email").send_keys(ADMIN[0])
    find(browser, "#password").send_keys(ADMIN[1], Keys.ENTER)
    until(browser, "the fleet page", lambda b: b.find_element(By.TAG_NAME, "h1").text == "Fleet")


def kept(browser):
    """The session of this tab: (token, e-mail)."""
    return browser.execute_script("const s = JSON.parse(sessionStorage.getItem('hcp.session')); return s && [s.token, s.email]")


def renewals(browser):
    return browser.execute_script("return performance.getEntriesByType('resource').filter(e => e.name.endsWith('/auth/refresh')).length")


def outlives(browser, tokens=2):
    """The tab's token is replaced that often, and the page stays."""
    for _ in range(tokens):
        before = kept(browser)
        until(browser, "the next token", lambda b: kept(b) and kept(b)[0] != before[0])
    assert browser.find_elements(By.CSS_SELECTOR, "nav[aria-label=Pages]")


def test_a_session_outlives_its_tokens(browser, short_lived):
    base = f"http://127.0.0.1:{short_lived.port}"
    sign_in(browser, base, ADMIN)
    first = browser.current_window_handle
    assert "hcp_refresh" not in browser.execute_script("return document.cookie")
    assert "hcr_" not in browser.execute_script("return JSON.stringify([sessionStorage, localStorage])")
    until(browser, "the live connection", lambda b: "Live" in b.find_element(By.TAG_NAME, "header").text)
    outlives(browser)
    assert "Live" in browser.find_element(By.TAG_NAME, "header").text
    # A token that the server no longer takes: a page's many calls share one renewal.
    browser.execute_script("""const s = JSON.parse(sessionStorage.getItem('hcp.session'));
        s.token = 'stale'; s.renewAtMs = s.expiresAtMs = Date.now() + 60000;
        window.stop(); sessionStorage.setItem('hcp.session', JSON.stringify(s));""")
    browser.refresh()
    find(browser, "nav[aria-label=Pages]")
    until(browser, "a good token", lambda b: kept(b)[0] != "stale")
    assert renewals(browser) == 1
    # A second tab is signed in too; neither ends the other's session, however often both renew.
    browser.switch_to.new_window("tab")
    browser.get(f"{base}/workloads")
    find(browser, "nav[aria-label=Pages]")
    second = browser.current_window_handle
    outlives(browser)
    browser.switch_to.window(first)
    outlives(browser)
    # Signed out here, the session is over at the server: the other tab learns it when its token runs out.
    find(browser, "button[aria-label=Account]").click()
    until(browser, "the menu", lambda b: next((e for e in b.find_elements(By.CSS_SELECTOR, "[role=menuitem]") if e.text == "Sign out"), None)).click()
    until(browser, "to be signed out", lambda b: not kept(b))
    browser.switch_to.window(second)
    until(browser, "the other tab to end", lambda b: not kept(b))
    assert "ended" in find(browser, "[role=alert]").text
    assert not [m for m in severe(browser) if "token=stale" not in m]
    browser.get(f"{base}/fleet")
    find(browser, "#email")


def test_admin_sees_live_numbers_and_why(browser, base):
    sign_in(browser, base, ADMIN)
    until(browser, "the overview", lambda b: b.find_element(By.TAG_NAME, "h1").text == "Overview")
    until(browser, "the live connection", lambda b: "Live" in b.find_element(By.TAG_NAME, "header").text)

    # Every tile that a fed platform can fill is filled, with its unit.
    def filled(b):
        values = kpis(b)
        wanted = ("electricity", "btc", "hashprice", "power", "net")
        return values if all(any(c.isdigit() for c in values.get(k, "")) for k in wanted) else None

    first = until(browser, "the tiles have values", filled, 60)
    until(browser, "some tile changes by itself", lambda b: kpis(b) != first, 60)
    until(browser, "the price chart", lambda b: b.find_elements(By.CSS_SELECTOR, "[aria-label^='Electricity price: now'] svg path"))
    services = find(browser, "main ul").text
    for name in ("gateway", "optimizer", "orchestrator", "resources"):
        assert name in services

    go(browser, "Prices & decisions")
    plan = "[aria-label^='Plan of texas-north: ']"
    until(browser, "the plan of the coming day", lambda b: b.find_elements(By.CSS_SELECTOR, f"{plan} svg path.recharts-area-area"))
    assert "kW in 96 steps" in browser.find_element(By.CSS_SELECTOR, plan).get_attribute("aria-label")
    chart = "[aria-label^='Bid curve of texas-north: ']"
    until(browser, "the bid curve, a line a response time", lambda b: len(b.find_elements(
        By.CSS_SELECTOR, f"{chart} path.recharts-line-curve")) >= 2)
    said = browser.find_element(By.CSS_SELECTOR, chart).get_attribute("aria-label")
    assert " kW within " in said and browser.find_elements(By.CSS_SELECTOR, "[aria-label='Steps of the bid'] tbody tr")
    find(browser, "[aria-label='For how long'] button[value='900']").click()
    until(browser, "the bid for another duration", lambda b: b.find_elements(By.CSS_SELECTOR, chart))
    rows = "[role=region][aria-label='Decision ledger'] tr[data-row]"

    def ledger(b):
        found = b.find_elements(By.CSS_SELECTOR, rows)
        if not found:  # none has changed the targets yet: show the held ones too
            switch = b.find_element(By.CSS_SELECTOR, "input[type=checkbox]")
            if not switch.is_selected():
                b.execute_script("arguments[0].click()", switch)
        return found

    until(browser, "a decision in the ledger", ledger)
    decision = browser.find_element(By.CSS_SELECTOR, rows).get_attribute("data-row")
    # By keyboard, as someone without a mouse would.
    until(browser, "the row takes the focus", lambda b: b.execute_script(
        "const r = document.querySelector(`tr[data-row='${arguments[0]}']`); r?.focus(); return document.activeElement === r",
        decision))
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    panel = find(browser, f"[data-explanation='{decision}']")
    until(browser, "options, one chosen", lambda b: "Chosen" in panel.text)
    text = panel.text
    for part in ("Options", "Targets", "What it came to", "Inputs", "Expected net", "Source", "Age"):
        assert part in text, f"{part} is missing in the explanation:\n{text}"
    inputs = panel.find_elements(By.CSS_SELECTOR, "[aria-label='Inputs of the decision'] tbody tr")
    assert inputs, "the explanation names no inputs"
    assert decision in browser.current_url
    assert not severe(browser)


def test_a_decision_says_what_it_expected(browser, base):
    sign_in(browser, base, ADMIN)
    go(browser, "Prices & decisions")
    switch = until(browser, "the switch for held decisions", lambda b: b.find_elements(By.CSS_SELECTOR, "main input[type=checkbox]"))[0]
    if not switch.is_selected():
        browser.execute_script("arguments[0].click()", switch)
    rows = "[role=region][aria-label='Decision ledger'] tr[data-row]"
    row = until(browser, "a decision", lambda b: b.find_elements(By.CSS_SELECTOR, rows))[0]
    browser.execute_script("arguments[0].click()", row)
    section = find(browser, "[data-forecast]", "the forecast of a facility")
    # The default policy takes the present price to hold, and the ledger says so, with the number.
    assert section.get_attribute("data-forecast") == "last_price"
    assert "The policy takes the present price to hold." in section.text
    assert any(c.isdigit() for c in section.text) and "USD/MWh" in section.text
    assert not severe(browser)


def test_free_capacity_and_the_portfolio(browser, with_a_past):
    base = f"http://127.0.0.1:{with_a_past.port}"
    said = with_a_past.call("GET", "/api/v1/portfolio", token=with_a_past.login())[1]
    sign_in(browser, base, ADMIN)
    go(browser, "Fleet")
    chart = find(browser, "[aria-label^='Free capacity of ']", "the chart of free capacity")
    assert "with a chance of 90 % at least" in chart.get_attribute("aria-label")
    until(browser, "the band and the line", lambda b: b.find_elements(By.CSS_SELECTOR, "[aria-label^='Free capacity of '] path.recharts-area-area")
          and b.find_elements(By.CSS_SELECTOR, "[aria-label^='Free capacity of '] path.recharts-line-curve"))
    go(browser, "Revenue")
    months = "[aria-label='Profit of a month, by facility'] tbody tr"
    rows = until(browser, "the facilities and their sum", lambda b: b.find_elements(By.CSS_SELECTOR, months))
    assert len(rows) == len(said["facilities"]) >= 2 and "All together" in rows[-1].text
    assert "drawn from 39 past days" in find(browser, "main").text or "drawn from 40 past days" in find(browser, "main").text
    choices = browser.find_elements(By.CSS_SELECTOR, "[aria-label='How to sell what serves'] tbody tr")
    assert len(choices) == len(said["choices"]) > 0 and any("30 days" in c.text for c in choices)
    assert not severe(browser)


def test_operator_pages_open(browser, base):
    sign_in(browser, base, ADMIN)
    for name in ("Fleet", "Switches", "Operations", "Models", "Workloads", "Revenue", "API keys", "Overview"):
        go(browser, name)
        until(browser, f"{name} has loaded", lambda b: not b.find_elements(By.CSS_SELECTOR, "[aria-label=Loading]"))
        assert not [e.text for e in browser.find_elements(By.CSS_SELECTOR, "main [role=alert]")]
    assert not severe(browser)


def test_operator_draws_less_power_and_gives_it_back(browser, base):
    sign_in(browser, base, ADMIN)
    go(browser, "Operations")
    until(browser, "the tickets", lambda b: "No device is sick" in b.find_element(By.TAG_NAME, "main").text)
    button(browser, "Draw less power", "main").click()
    find(browser, "#curtail-kw").send_keys("99999999")
    button(browser, "Draw 99,999,999 kW less", "[role=dialog]").click()
    until(browser, "the refusal at its field", lambda b: "at most" in b.find_element(By.ID, "curtail-kw-helper-text").text)
    field = find(browser, "#curtail-kw")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("1")
    button(browser, "Draw 1 kW less", "[role=dialog]").click()
    table = "[aria-label='Orders to draw less power']"
    until(browser, "the order", lambda b: any(s in find(b, table).text for s in ("Shedding", "Held", "Late", "Short")))
    button(browser, "Restore", "main").click()
    button(browser, "Restore", "[role=dialog]").click()
    until(browser, "the way back", lambda b: any(s in find(b, table).text for s in ("Restoring", "Over")))
    assert not severe(browser)


def test_customer_submits_pauses_and_cancels(browser, base):
    sign_in(browser, base, CUSTOMER)
    until(browser, "the workloads page", lambda b: b.find_element(By.TAG_NAME, "h1").text == "Workloads")
    assert "Emergency" not in browser.find_element(By.TAG_NAME, "header").text
    name = f"portal test {uuid.uuid4().hex[:8]}"

    # Without a name it is refused at the field, before anything is sent.
    button(browser, "Submit a workload", "main").click()
    button(browser, "Submit workload", "[role=dialog]").click()
    assert find(browser, "#w-name-helper-text").text == "Give the workload a name"
    field = find(browser, "#w-name")
    assert field.get_attribute("aria-invalid") == "true"
    field.send_keys(name)
    button(browser, "Submit workload", "[role=dialog]").click()

    row = until(
        browser,
        "the workload is listed",
        lambda b: next((r for r in b.find_elements(By.CSS_SELECTOR, "tr[data-row]") if name in r.text), None),
    )
    workload = row.get_attribute("data-row")
    row.click()
    details = find(browser, f"[data-workload='{workload}']")
    until(browser, "its history", lambda b: details.find_elements(By.CSS_SELECTOR, "ol li"))
    button(browser, "Pause workload", f"[data-workload='{workload}']").click()
    find(browser, f"[data-workload='{workload}'] [data-state=paused]", "the workload is paused")
    button(browser, "Resume workload", f"[data-workload='{workload}']").click()
    until(browser, "it goes on", lambda b: not details.find_elements(By.CSS_SELECTOR, "[data-state=paused]"))
    button(browser, "Cancel workload", f"[data-workload='{workload}']").click()
    button(browser, "Cancel the workload").click()
    find(browser, f"[data-workload='{workload}'] [data-state=cancelled]", "the workload is cancelled")
    until(browser, "the history says so", lambda b: "Cancelled" in details.find_element(By.TAG_NAME, "ol").text)
    assert not severe(browser)


def test_what_waits_says_what_would_make_it_fit(browser, base):
    who = requests.post(f"{base}/api/v1/auth/login", json=dict(zip(("email", "password"), CUSTOMER)), timeout=10).json()
    auth = {"Authorization": f"Bearer {who['access_token']}"}
    made = requests.post(f"{base}/api/v1/workloads", headers=auth, timeout=10, json={
        "type": "model_training", "name": "more than there are", "device_count": 4096, "duration_s": 60,
        "project": "night"}).json()
    try:
        sign_in(browser, base, CUSTOMER)
        row = until(browser, "the queue", lambda b: next(
            (r for r in b.find_elements(By.CSS_SELECTOR, "[aria-label='Waiting workloads'] tr[data-row]")
             if r.get_attribute("data-row") == made["id"]), None))
        assert "P3" in row.text and "Wants 4096" in row.text, row.text
        row.click()
        place = find(browser, f"[data-workload='{made['id']}'] [data-queue-place]")
        assert "ask for fewer" in place.text and "Place in the queue" in place.text, place.text
        assert not severe(browser)
    finally:
        requests.delete(f"{base}/api/v1/workloads/{made['id']}", headers=auth, timeout=10).raise_for_status()


def test_customer_sees_a_key_secret_once(browser, base):
    sign_in(browser, base, CUSTOMER)
    go(browser, "API keys")
    name = f"portal test {uuid.uuid4().hex[:8]}"
    button(browser, "New API key").click()
    find(browser, "#key-name").send_keys(name)
    button(browser, "Create key").click()
    secret = find(browser, "[data-secret]").text.strip()
    assert len(secret) >= 16
    button(browser, "I have copied it").click()
    find(browser, f"button[aria-label='Revoke {name}']").click()
    assert secret not in browser.page_source
    button(browser, "Revoke the key").click()
    until(
        browser,
        "the key is revoked",
        lambda b: any(name in r.text and "Revoked" in r.text for r in b.find_elements(By.CSS_SELECTOR, "tr[data-row]")),
    )


def test_customer_may_not_open_operator_pages(browser, base):
    sign_in(browser, base, CUSTOMER)
    browser.get(f"{base}/overview")
    until(browser, "own workloads instead", lambda b: b.current_url.endswith("/workloads"))


def test_phone_width_has_no_sideways_scroll(browser, base):
    sign_in(browser, base, ADMIN)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    for path in ("/overview", "/decisions", "/fleet", "/switches", "/operations", "/models", "/workloads", "/revenue", "/keys"):
        browser.get(base + path)
        find(browser, "h1")
        time.sleep(0.5)
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"
    find(browser, "[aria-label='Open the menu']").click()
    find(browser, "nav[aria-label=Pages]")
