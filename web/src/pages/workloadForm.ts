// What the submit form asks, checks before sending, and sends. The platform checks again and names the field.
import type { WorkloadType } from '../api/types.gen';
import type { WorkloadDraft } from '../api/api';

export interface WorkloadForm {
  type: WorkloadType;
  name: string;
  model: string;
  priority: string;
  device_class: string;
  device_count: string;
  gpu_fraction: string;
  mig_profile: string;
  memory_gib: string;
  max_latency_ms: string;
  duration_s: string; // as hours in the form
  region: string;
  callback_url: string;
}

export const emptyForm: WorkloadForm = {
  type: 'ai_inference_realtime',
  name: '',
  model: 'all-MiniLM-L6-v2',
  priority: '5',
  device_class: '',
  device_count: '1',
  gpu_fraction: '',
  mig_profile: '',
  memory_gib: '',
  max_latency_ms: '',
  duration_s: '1',
  region: '',
  callback_url: '',
};

export const FORM_FIELDS = Object.keys(emptyForm) as (keyof WorkloadForm)[];

function whole(text: string): number {
  return /^\d+$/.test(text.trim()) ? Number(text) : NaN;
}

// Mining takes whole devices.
function takesPart(f: WorkloadForm): boolean {
  return f.type !== 'bitcoin_mining';
}

export function checkForm(f: WorkloadForm): Partial<Record<keyof WorkloadForm, string>> {
  const e: Partial<Record<keyof WorkloadForm, string>> = {};
  if (!f.name.trim()) e.name = 'Give the workload a name';
  else if ([...f.name].length > 120) e.name = 'At most 120 characters';
  const inside = (field: keyof WorkloadForm, low: number, high: number) => {
    const n = whole(f[field]);
    if (!(n >= low && n <= high)) e[field] = `A whole number from ${low} to ${high}`;
  };
  inside('priority', 1, 10);
  inside('device_count', 1, 4096);
  if (f.gpu_fraction.trim() && takesPart(f)) {
    const milli = Number(f.gpu_fraction) * 1000;
    if (!(milli >= 0.999 && milli <= 1000) || Math.abs(milli - Math.round(milli)) > 1e-6) {
      e.gpu_fraction = 'From 0.001 to 1, in steps of 0.001';
    }
    if (f.mig_profile.trim()) e.mig_profile = 'Either a fraction or an instance';
  }
  if (f.memory_gib.trim()) inside('memory_gib', 1, 1_000_000);
  if (f.max_latency_ms.trim() && f.type === 'ai_inference_realtime') inside('max_latency_ms', 1, 3_600_000);
  const hours = Number(f.duration_s);
  if (f.duration_s.trim() === '' || !(hours >= 0)) e.duration_s = 'Hours, or 0 to run until cancelled';
  else if (hours > 8760) e.duration_s = 'At most 8760 hours (a year)';
  if (f.callback_url.trim() && !/^https?:\/\/\S+$/.test(f.callback_url.trim())) {
    e.callback_url = 'An address that starts with https:// or http://';
  }
  return e;
}

export function draftOf(f: WorkloadForm): WorkloadDraft {
  const hours = Number(f.duration_s);
  const draft: WorkloadDraft = {
    type: f.type,
    name: f.name.trim(),
    priority: whole(f.priority),
    device_count: whole(f.device_count),
    duration_s: hours > 0 ? Math.max(1, Math.round(hours * 3600)) : 0,
  };
  const optional: [keyof WorkloadForm & keyof WorkloadDraft, boolean][] = [
    ['model', f.type !== 'bitcoin_mining'],
    ['device_class', true],
    ['region', true],
    ['callback_url', true],
    ['mig_profile', takesPart(f)],
  ];
  for (const [field, applies] of optional) {
    if (applies && f[field].trim()) Object.assign(draft, { [field]: f[field].trim() });
  }
  if (f.gpu_fraction.trim() && takesPart(f)) draft.gpu_fraction = Number(f.gpu_fraction);
  if (f.memory_gib.trim()) draft.memory_gib = whole(f.memory_gib);
  if (f.max_latency_ms.trim() && f.type === 'ai_inference_realtime') draft.max_latency_ms = whole(f.max_latency_ms);
  return draft;
}
