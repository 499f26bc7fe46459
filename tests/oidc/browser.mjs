// Opens a URL in Chromium as a person would: logs in, agrees, reads what the last page says.
// usage: node browser.mjs CHROMIUM OUTCOME-FILE URL
import { renameSync, writeFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [executablePath, outcome, url] = process.argv.slice(2);
const seen = { complaints: [], requested: [] };
let browser;
try {
  // Root cannot have Chromium's own sandbox; the pages are ours.
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const page = await browser.newPage({ viewport: { width: 800, height: 500 } });
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on('pageerror', (error) => seen.complaints.push(String(error)));
  page.on('request', (request) => seen.requested.push(new URL(request.url()).origin));
  await page.goto(url);
  for (let form = 0; form < 5 && (await page.locator('form').count()) > 0; form += 1) {
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', 'ada@acme.test');
      await page.fill('input[name=password]', 'secret');
    }
    // What the vendor's own pages complain about is not ours.
    seen.complaints = [];
    seen.requested = [];
    await Promise.all([page.waitForNavigation(), page.locator('form [type=submit]').first().click()]);
  }
  seen.title = await page.title();
  seen.heading = await page.locator('h1').innerText();
  seen.text = await page.locator('main').innerText();
  seen.address = page.url();
  seen.overflows = await page.evaluate(
    () => document.documentElement.scrollWidth > window.innerWidth,
  );
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    seen[scheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.screenshot({ path: `${outcome}.${scheme}.png` });
  }
} catch (error) {
  seen.error = String(error);
} finally {
  await browser?.close();
  // Whoever waits for the file finds it whole.
  writeFileSync(`${outcome}.new`, JSON.stringify(seen));
  renameSync(`${outcome}.new`, outcome);
}
