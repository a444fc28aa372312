/** Runs in the page: it may name nothing of this file. Gives what it found, in words. */
export function audit() {
  const found = [];
  const shown = (element) => element.checkVisibility({ visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) found.push(`two elements have the id ${id}`);
  for (const control of all('input, select, textarea'))
    if (!control.labels?.length && !control.getAttribute('aria-label')) found.push(`no label: ${control.outerHTML.slice(0, 120)}`);
  for (const control of all('a, button, summary'))
    if (!control.textContent.trim() && !control.getAttribute('aria-label')) found.push(`no name: ${control.outerHTML.slice(0, 120)}`);
  for (const element of all('[aria-describedby], [aria-labelledby]'))
    for (const id of `${element.getAttribute('aria-describedby') ?? ''} ${element.getAttribute('aria-labelledby') ?? ''}`.trim().split(/\s+/))
      if (!document.getElementById(id)) found.push(`${element.tagName} points to #${id}, which is not there`);
  let level = 0;
  for (const heading of all('h1, h2, h3, h4')) {
    const own = Number(heading.tagName[1]);
    if (own > level + 1) found.push(`heading ${heading.textContent} jumps to level ${own}`);
    level = own;
  }
  if (all('h1').length !== 1) found.push(`${all('h1').length} headings of level 1`);
  if (all('main').length !== 1) found.push('not one main');
  if (!document.documentElement.lang) found.push('no language');
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push('wider than the window');

  // Contrast as WCAG 2.2, 1.4.3 computes it; colours are read from a canvas, whatever notation they have.
  const pixels = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    pixels.clearRect(0, 0, 1, 1);
    pixels.fillStyle = colour;
    pixels.fillRect(0, 0, 1, 1);
    return [...pixels.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    if (element === null) return [255, 255, 255];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 255 ? colour : ground(element.parentElement);
  };
  for (const element of all('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== '');
    if (text.length === 0 || element.matches(':disabled')) continue;
    const [light, dark] = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${element.textContent.trim().slice(0, 60)}`);
  }
  return found;
}
