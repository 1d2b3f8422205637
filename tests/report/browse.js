// Opens pages in headless Chromium and tells what happened there, as JSON.
// node browse.js CHROMIUM MODULES SHOTS page.html...
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const [executablePath, modules, shots, ...files] = process.argv.slice(2);
const { chromium } = require(path.join(modules, "playwright-core"));
const axe = fs.readFileSync(path.join(modules, "axe-core", "axe.min.js"), "utf8");

const KL = 2; // the column that is sorted by
const LAYERS = "[aria-labelledby=layers] table.sortable";

const column = (page, index) =>
  page.$$eval(`${LAYERS} tbody tr`, (rows, at) => rows.map((row) => Number.parseFloat(row.cells[at].dataset.sort)), index);

async function open(browser, file, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const seen = { console: [], errors: [], requests: [] };
  page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url().slice(0, 60)));
  await page.goto(pathToFileURL(file).href);
  return { context, page, seen };
}

async function faults(page) {
  await page.evaluate(axe);
  return page.evaluate(() => globalThis.axe.run());
}

async function look(browser, file, { width, colorScheme, judged }) {
  const { context, page, seen } = await open(browser, file, { viewport: { width, height: 900 }, colorScheme });
  const name = `${path.basename(file, ".html")}.${width}.${colorScheme}.png`;
  await page.screenshot({ path: path.join(shots, name), fullPage: true });
  await page.$$eval("details", (all) => all.forEach((each) => (each.open = true)));
  const { violations, passes } = judged ? await faults(page) : { violations: [], passes: [] };
  const found = {
    width,
    scheme: colorScheme,
    ...seen,
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
    background: await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
    rules: passes.length,
    faults: violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) })),
  };
  await context.close();
  return found;
}

async function use(browser, file) {
  const { context, page, seen } = await open(browser, file, { viewport: { width: 1280, height: 900 } });
  const found = { ...seen, before: await column(page, KL) };
  const head = page.locator(`${LAYERS} thead th`).nth(KL);
  if (await head.count()) {
    await head.getByRole("button").click();
    found.descending = [await head.getAttribute("aria-sort"), await column(page, KL)];
    await page.keyboard.press("Enter");
    found.ascending = [await head.getAttribute("aria-sort"), await column(page, KL)];
    await page.locator(`${LAYERS} thead th`).first().getByRole("button").click();
    found.again = await column(page, KL);
  }
  const details = page.locator("figure details").first();
  if (await page.locator("details img").count()) {
    await details.locator("summary").click();
    const image = details.locator("img");
    await image.scrollIntoViewIfNeeded();
    found.picture = await image.evaluate((each) => each.naturalWidth);
    const box = await image.boundingBox();
    await page.mouse.move(box.x + 3, box.y + 3);
    found.corner = await details.locator("output").textContent();
    await page.mouse.move(box.x + box.width - 3, box.y + 3);
    found.other = await details.locator("output").textContent();
  }
  await context.close();
  return found;
}

async function useWithoutScripts(browser, file) {
  const { context, page, seen } = await open(browser, file, { viewport: { width: 1280, height: 900 }, javaScriptEnabled: false });
  const found = { ...seen, buttons: await page.locator("button").count(), rows: await page.locator("tbody tr").count() };
  const image = page.locator("details img").first();
  if (await image.count()) {
    await page.locator("figure details summary").first().click();
    found.visible = await image.isVisible();
  }
  await page.emulateMedia({ media: "print" });
  found.folded = await page.$$eval("details > :is(div, img)", (all) => all.filter((each) => !each.checkVisibility({ contentVisibilityProperty: true })).length);
  found.pages = (await page.pdf()).length;
  await context.close();
  return found;
}

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  const told = {};
  for (const file of files) {
    const looks = [];
    for (const width of [1280, 360])
      for (const colorScheme of ["light", "dark"]) {
        const judged = (width === 1280) === (colorScheme === "light"); // each width and each scheme once, as it takes longest
        looks.push(await look(browser, file, { width, colorScheme, judged }));
      }
    told[path.basename(file, ".html")] = { looks, use: await use(browser, file), plain: await useWithoutScripts(browser, file) };
  }
  await browser.close();
  console.log(JSON.stringify(told));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
