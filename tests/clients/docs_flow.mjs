// The documentation page in Chromium: its introduction, the filter, that nothing overflows the column on a phone and on a desktop,
// that it works with the keyboard and in dark mode, and that a command it shows runs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.PARLEY_CLIENTS}/`);
const { chromium } = require("playwright-core");

const { PARLEY_URL: url, PARLEY_TOKEN: token } = process.env;
const api = await (await fetch(`${url}/openapi.json`)).json();

// The listed operations: an update appears once, although it is described for PATCH and PUT.
const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item)
        .filter(([method]) => method !== "put" || !item.patch)
        .map(([method, operation]) => {
            const methods = method === "patch" && item.put ? "patch put" : method;
            const { operationId, summary, description, tags } = operation;
            return { id: operationId, tag: tags[0], text: `${methods} ${path} ${operationId} ${summary} ${description}`.toLowerCase() };
        }),
);

// The visible operations and headings.
const seen = (page) =>
    page.evaluate(() => {
        const visible = (selector) => [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility());
        const status = document.getElementById("count").textContent;
        return { ids: visible("#operations section > details").map(({ id }) => id), tags: visible("#operations h3").map((node) => node.textContent), status };
    });

async function filters(page) {
    const all = operations.map(({ id }) => id).toSorted();
    for (const words of ["team", "POST contacts", "update", "nothing-has-this-name", ""]) {
        await page.fill("#filter", words);
        const parts = words.toLowerCase().split(" ").filter(Boolean);
        const expected = operations.filter(({ text }) => parts.every((part) => text.includes(part)));
        const { ids, tags, status } = await seen(page);
        assert.deepEqual(ids.toSorted(), expected.map(({ id }) => id).toSorted(), words);
        assert.deepEqual(tags.toSorted(), [...new Set(expected.map(({ tag }) => tag))].toSorted(), words);
        assert.equal(status, words ? `${expected.length} of ${all.length} operations` : `${all.length} operations`);
    }
    const update = await page.textContent("#updateTeam > summary b");
    assert.equal(update, "PATCH, PUT");
    assert.equal(await page.$("#updateTeamByPut"), null);
}

// Opens every operation and every part of it.
async function fits(page, width) {
    await page.setViewportSize({ width, height: 900 });
    for (const selector of ["#operations section > details", "#operations details details"]) {
        await page.$$eval(selector, (all) => all.forEach((details) => (details.open = true)));
        await page.waitForFunction((selector) => [...document.querySelectorAll(selector)].every((details) => details.children.length > 1), selector);
    }
    const outside = await page.evaluate(() => {
        const { clientWidth, scrollWidth } = document.documentElement;
        // Ignore elements inside a block that scrolls by itself.
        const nodes = [...document.querySelectorAll("body *")].filter((node) => !node.parentElement.closest("pre") && !node.matches(".skip"));
        const wide = nodes.filter((node) => node.getBoundingClientRect().right > clientWidth + 0.5).map((node) => `${node.tagName} ${node.textContent.slice(0, 60)}`);
        return { wide: wide.slice(0, 5), scrolls: scrollWidth > clientWidth, count: nodes.length };
    });
    assert.deepEqual([outside.wide, outside.scrolls], [[], false], `${width} px`);
    assert.ok(outside.count > 5000, `${outside.count} nodes`);
}

async function keyboard(page) {
    await page.goto(`${url}/docs/api`);
    await page.waitForSelector("#operations details");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "filter", "the skip link leads to the filter");
    await page.keyboard.type("listLabels");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#listLabels[open] pre");
    const { ids } = await seen(page);
    assert.deepEqual(ids, ["listLabels"]);
    const text = await page.textContent("#listLabels");
    for (const part of ["Parameters", "Example request", "Answer", "Errors", "Members of the account"]) assert.ok(text.includes(part), `${part} in ${text}`);
}

// A command that the page shows returns the response that it shows.
async function command(page) {
    const shown = await page.textContent("#listLabels pre");
    assert.match(shown, /^curl "http/);
    const answer = execFileSync("bash", ["-c", `${shown} --silent --fail`], { env: { ...process.env, TOKEN: token }, encoding: "utf8" });
    assert.ok(Array.isArray(JSON.parse(answer).payload), answer);
}

const brightness = (color) => {
    const [red, green, blue] = color.match(/[\d.]+/g).map(Number);
    return (red + green + blue) / 765;
};

async function dark(browser, scheme) {
    const page = await browser.newPage({ colorScheme: scheme });
    await page.goto(`${url}/docs/api`);
    const [background, text] = await page.evaluate(() => {
        const { backgroundColor, color } = getComputedStyle(document.documentElement);
        return [backgroundColor, color];
    });
    await page.close();
    return brightness(background) < brightness(text);
}

const browser = await chromium.launch({
    executablePath: process.env.PARLEY_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    chromiumSandbox: false,
    args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
    const page = await browser.newPage();
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    // An unknown fragment that is not valid percent-encoding.
    await page.goto(`${url}/docs/api#100%`);
    await page.waitForSelector("#operations details");
    await page.goto(`${url}/docs`);
    assert.equal(page.url(), `${url}/docs/api`, "the former path redirects");
    await page.goto(url);
    await page.waitForSelector("#operations details");
    const calling = await page.textContent("#calling");
    for (const part of [url, "api_access_token: TOKEN", "api-access-token: TOKEN", "Authorization: Bearer TOKEN", "application/json", "Retry-After", "RateLimit-Remaining", "next_cursor"]) {
        assert.ok(calling.includes(part), part);
    }
    const precedes = await page.evaluate(() => document.getElementById("calling").compareDocumentPosition(document.getElementById("operations")));
    assert.equal(precedes & 4, 4, "how to call comes first");
    await filters(page);
    await page.click('a[href="#followEvents"]');
    await page.waitForSelector("#followEvents[open]");
    await fits(page, 400);
    await fits(page, 1200);
    await keyboard(page);
    await command(page);
    assert.deepEqual(complaints, []);
    assert.deepEqual([await dark(browser, "dark"), await dark(browser, "light")], [true, false]);
} finally {
    await browser.close();
}
console.log(`/docs/api: ${operations.length} operations are listed, filtered and fit; a command that it shows runs`);
