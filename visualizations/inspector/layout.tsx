/** The frame of every page: the bar with the ways to the others, one heading, and the title of the window. */
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';

const PAGES = [
  ['/', 'Fleet'],
  ['/devices', 'Devices'],
  ['/device', 'Approve a device'],
  ['/docs', 'API'],
] as const;

export function Layout({ title, wide = false, children }: { readonly title: string; readonly wide?: boolean; readonly children: ComponentChildren }) {
  useEffect(() => {
    document.title = `Castellan: ${title}`;
  }, [title]);
  return (
    <>
      <header class="bar">
        <a class="brand" href="/">
          Castellan
        </a>
        <nav class="links" aria-label="Pages">
          {PAGES.map(([href, text]) => (
            <a href={href} aria-current={location.pathname === href ? 'page' : undefined}>
              {text}
            </a>
          ))}
        </nav>
      </header>
      <main class={wide ? 'page wide' : 'page'}>
        <h1 class="title">{title}</h1>
        {children}
      </main>
    </>
  );
}
