/**
 * The services that every node knows.
 *
 * 1. An image is named here by a version, so that a node runs tomorrow what it ran today. Ollama alone follows its `latest`: the models that
 *    people name are newer than any version that could be written here, and it keeps its data compatible.
 * 2. Ports are those of the public client's services, so that whoever knows a service finds it where it always was; on loopback.
 * 3. A bare name works: every parameter has a default, and no default needs an account or a licence.
 * 4. Containers that need no foreign user run without any capability; databases run as their image's own user instead of changing to it.
 */
import type { CatalogueParameter, CatalogueService } from './catalogue.ts';

const MINUTE_MS = 60_000;
/** An image of several GB is already pulled when the deadline begins; weights are loaded within it, at first over the network. */
const MODEL_DEADLINE_MS = 30 * MINUTE_MS;
const TOOL_DEADLINE_MS = 10 * MINUTE_MS;
const DATABASE_DEADLINE_MS = 2 * MINUTE_MS;

/** `organisation/model` of the Hugging Face hub. Neither half begins with a dot or a dash: no path, no flag. */
const HUB_MODEL = '^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$';
/** The same with a quantisation, `organisation/model:Q4_K_M`. */
const HUB_MODEL_QUANT = '^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}(:[A-Za-z0-9][A-Za-z0-9_]{0,31})?$';

const contextLength = (args: readonly string[]): CatalogueParameter => ({
  description: 'Longest context in tokens; more needs more memory.',
  type: 'integer',
  min: 256,
  max: 1_048_576,
  default: 8192,
  args,
});

const vllm: CatalogueService = {
  name: 'vllm',
  title: 'vLLM',
  description: 'Serves a language model on an NVIDIA GPU, with the OpenAI API.',
  kind: 'llm',
  image: 'vllm/vllm-openai:v0.11.0',
  command: ['--host', '0.0.0.0', '--port', '8000'],
  env: { VLLM_NO_USAGE_STATS: '1' },
  parameters: {
    model: {
      description: 'Model on the Hugging Face hub.',
      type: 'string',
      pattern: HUB_MODEL,
      default: 'Qwen/Qwen2.5-0.5B-Instruct',
      args: ['--model', '{}'],
    },
    maxModelLen: contextLength(['--max-model-len', '{}']),
    gpuMemoryPercent: {
      description: 'How much of the GPU memory it takes at start.',
      type: 'integer',
      min: 10,
      max: 95,
      default: 85,
      args: ['--gpu-memory-utilization', '0.{}'],
    },
  },
  ports: [{ container: 8000, host: 8201 }],
  volumes: [{ name: 'models', path: '/root/.cache/huggingface' }],
  gpu: { required: true, memoryMb: 8192 },
  diskGb: 30,
  limits: { pids: 4096, sharedMemoryMb: 2048 },
  health: { kind: 'http', port: 8000, path: '/health' },
  startDeadlineMs: MODEL_DEADLINE_MS,
  models: { api: 'openai', port: 8000 },
};

const ollama: CatalogueService = {
  name: 'ollama',
  title: 'Ollama',
  description: 'Runs language models on the GPU, or on the processor where there is none.',
  kind: 'llm',
  image: 'ollama/ollama:latest',
  parameters: {
    contextLength: { description: 'Longest context in tokens.', type: 'integer', min: 256, max: 1_048_576, env: 'OLLAMA_CONTEXT_LENGTH' },
    keepAliveMinutes: {
      description: 'How long an unused model stays in memory, in minutes.',
      type: 'integer',
      min: 0,
      max: 10_080,
      env: 'OLLAMA_KEEP_ALIVE',
      format: '{}m',
    },
  },
  ports: [{ container: 11_434, host: 11_434 }],
  volumes: [{ name: 'models', path: '/root/.ollama' }],
  gpu: { required: false, memoryMb: 4096 },
  diskGb: 10,
  limits: { pids: 2048 },
  health: { kind: 'http', port: 11_434, path: '/api/tags' },
  startDeadlineMs: 2 * MINUTE_MS,
  models: { api: 'ollama', port: 11_434 },
};

const llamacpp: CatalogueService = {
  name: 'llamacpp',
  title: 'llama.cpp',
  description: 'Serves one GGUF model on the processor, with the OpenAI API.',
  kind: 'llm',
  image: 'ghcr.io/ggml-org/llama.cpp:server-b10108',
  command: ['--host', '0.0.0.0', '--port', '8080'],
  env: { LLAMA_CACHE: '/models' },
  parameters: {
    model: {
      description: 'GGUF model on the Hugging Face hub, with its quantisation.',
      type: 'string',
      pattern: HUB_MODEL_QUANT,
      default: 'ggml-org/gemma-3-1b-it-GGUF:Q4_K_M',
      args: ['-hf', '{}'],
    },
    contextLength: contextLength(['--ctx-size', '{}']),
  },
  ports: [{ container: 8080, host: 8200 }],
  volumes: [{ name: 'models', path: '/models' }],
  diskGb: 10,
  limits: { pids: 1024 },
  health: { kind: 'http', port: 8080, path: '/health' },
  startDeadlineMs: MODEL_DEADLINE_MS,
  models: { api: 'openai', port: 8080 },
};

const sglang: CatalogueService = {
  name: 'sglang',
  title: 'SGLang',
  description: 'Serves a language model on an NVIDIA GPU, with the OpenAI API and structured output.',
  kind: 'llm',
  image: 'lmsysorg/sglang:v0.5.18',
  command: ['python3', '-m', 'sglang.launch_server', '--host', '0.0.0.0', '--port', '30000'],
  parameters: {
    model: {
      description: 'Model on the Hugging Face hub.',
      type: 'string',
      pattern: HUB_MODEL,
      default: 'Qwen/Qwen2.5-0.5B-Instruct',
      args: ['--model-path', '{}'],
    },
    contextLength: contextLength(['--context-length', '{}']),
  },
  ports: [{ container: 30_000, host: 30_000 }],
  volumes: [{ name: 'models', path: '/root/.cache/huggingface' }],
  gpu: { required: true, memoryMb: 8192 },
  diskGb: 40,
  limits: { pids: 4096, sharedMemoryMb: 2048 },
  health: { kind: 'http', port: 30_000, path: '/health' },
  startDeadlineMs: MODEL_DEADLINE_MS,
  models: { api: 'openai', port: 30_000 },
};

const tei: CatalogueService = {
  name: 'tei',
  title: 'Text Embeddings Inference',
  description: 'Turns text into vectors, on the processor.',
  kind: 'embedding',
  image: 'ghcr.io/huggingface/text-embeddings-inference:cpu-1.8',
  command: ['--port', '8080'],
  parameters: {
    model: {
      description: 'Embedding model on the Hugging Face hub.',
      type: 'string',
      pattern: HUB_MODEL,
      default: 'BAAI/bge-small-en-v1.5',
      args: ['--model-id', '{}'],
    },
  },
  ports: [{ container: 8080, host: 8102 }],
  volumes: [{ name: 'models', path: '/data' }],
  diskGb: 5,
  limits: { pids: 1024 },
  health: { kind: 'http', port: 8080, path: '/health' },
  startDeadlineMs: MODEL_DEADLINE_MS,
};

const transcribe: CatalogueService = {
  name: 'transcribe',
  title: 'Whisper',
  description: 'Turns speech into text, on the processor.',
  kind: 'other',
  image: 'onerahmet/openai-whisper-asr-webservice:v1.9.1',
  env: { ASR_ENGINE: 'faster_whisper' },
  parameters: {
    model: {
      description: 'Size of the Whisper model.',
      type: 'string',
      pattern: '^(tiny|base|small|medium|large-v2|large-v3)$',
      default: 'base',
      env: 'ASR_MODEL',
    },
  },
  ports: [{ container: 9000, host: 8101 }],
  volumes: [{ name: 'models', path: '/root/.cache' }],
  diskGb: 8,
  limits: { pids: 1024 },
  health: { kind: 'http', port: 9000, path: '/docs' },
  startDeadlineMs: TOOL_DEADLINE_MS,
};

const kokoro: CatalogueService = {
  name: 'kokoro',
  title: 'Kokoro',
  description: 'Turns text into speech, on the processor.',
  kind: 'other',
  image: 'ghcr.io/remsky/kokoro-fastapi-cpu:v0.2.2',
  ports: [{ container: 8880, host: 8211 }],
  volumes: [],
  diskGb: 6,
  limits: { pids: 1024 },
  health: { kind: 'http', port: 8880, path: '/health' },
  startDeadlineMs: TOOL_DEADLINE_MS,
};

const postgres: CatalogueService = {
  name: 'postgres',
  title: 'PostgreSQL',
  description: 'A relational database for programs on this node.',
  kind: 'database',
  image: 'postgres:17-alpine',
  env: { PGDATA: '/var/lib/postgresql/data/pgdata' },
  secrets: { POSTGRES_PASSWORD: { description: 'Password of the user "postgres". Takes effect when the volume is new.' } },
  user: 'postgres',
  parameters: {
    database: {
      description: 'Database that is made at the first start.',
      type: 'string',
      pattern: '^[a-z][a-z0-9_]{0,62}$',
      default: 'postgres',
      env: 'POSTGRES_DB',
    },
  },
  ports: [{ container: 5432, host: 5432 }],
  volumes: [{ name: 'data', path: '/var/lib/postgresql/data' }],
  diskGb: 5,
  limits: { memoryMb: 2048, pids: 512, sharedMemoryMb: 256 },
  health: { kind: 'command', command: ['pg_isready', '--quiet', '--host', '127.0.0.1', '--username', 'postgres'] },
  startDeadlineMs: DATABASE_DEADLINE_MS,
};

const redis: CatalogueService = {
  name: 'redis',
  title: 'Redis',
  description: 'A key-value store for programs on this node, without a password and on loopback alone.',
  kind: 'database',
  image: 'redis:7.4-alpine',
  command: ['redis-server', '--appendonly', 'yes'],
  user: 'redis',
  ports: [{ container: 6379, host: 6379 }],
  volumes: [{ name: 'data', path: '/data' }],
  diskGb: 2,
  limits: { memoryMb: 1024, pids: 256 },
  readOnlyRoot: true,
  health: { kind: 'command', command: ['redis-cli', 'ping'] },
  startDeadlineMs: DATABASE_DEADLINE_MS,
};

export const BUILTIN_SERVICES: readonly CatalogueService[] = [vllm, ollama, llamacpp, sglang, tei, transcribe, kokoro, postgres, redis];
