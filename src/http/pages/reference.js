/** The API's reference, made from the OpenAPI document of this server. Everything becomes text, never markup. */
function make(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function block(title, value) {
  const parts = document.createDocumentFragment();
  parts.append(make('h3', title), make('pre', JSON.stringify(value, null, 2)));
  return parts;
}

function parameterList(parameters) {
  const list = make('dl');
  for (const { name, in: place, required, schema, description } of parameters) {
    const kind = schema.enum?.join(' | ') ?? schema.type ?? 'string';
    list.append(make('dt', name), make('dd', `${place}, ${kind}${required ? ', required' : ''}${description ? `. ${description}` : ''}`));
  }
  return list;
}

function operation(path, method, details) {
  const entry = make('details');
  const summary = make('summary');
  summary.append(make('span', method.toUpperCase(), 'method'), make('code', path), make('span', `  ${details.summary ?? ''}`, 'muted'));
  entry.append(summary);
  if (details.description) entry.append(make('p', details.description));
  if (details.parameters?.length) entry.append(make('h3', 'Parameters'), parameterList(details.parameters));
  const body = details.requestBody?.content?.['application/json']?.schema;
  if (body) entry.append(block('Body', body));
  for (const [status, { content }] of Object.entries(details.responses ?? {})) {
    const schema = content?.['application/json']?.schema;
    if (schema && Number(status) < 400) entry.append(block(`Answer ${status}`, schema));
  }
  return entry;
}

const reference = document.getElementById('reference');
const document_ = await (await fetch('/openapi.json')).json();
const byTag = new Map();
for (const [path, operations] of Object.entries(document_.paths)) {
  for (const [method, details] of Object.entries(operations)) {
    const tag = details.tags?.[0] ?? 'other';
    byTag.set(tag, [...(byTag.get(tag) ?? []), operation(path, method, details)]);
  }
}
for (const [tag, entries] of byTag) reference.append(make('h2', tag), ...entries);
