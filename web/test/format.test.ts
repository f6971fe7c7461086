import { describe, expect, it } from 'vitest';
import * as f from '../src/ui/format';

describe('what a workload asks for', () => {
  it('is devices, or a part of one', () => {
    const w = { device_count: 4, device_class: 'H100', gpu_fraction: 0, mig_profile: '' };
    expect(f.devicesOf(w)).toBe('4 × H100');
    expect(f.devicesOf({ ...w, device_class: '' })).toBe('4');
    expect(f.devicesOf({ ...w, device_count: 1, gpu_fraction: 0.25 })).toBe('0.25 of one H100');
    expect(f.devicesOf({ ...w, device_count: 1, device_class: '', gpu_fraction: 0.5 })).toBe('0.5 of one GPU');
    expect(f.devicesOf({ ...w, device_count: 1, mig_profile: '1g.10gb' })).toBe('1g.10gb of one H100');
  });
});

describe('numbers', () => {
  it('writes what is unknown as a dash, never as zero', () => {
    for (const x of [undefined, null, NaN, Infinity]) {
      expect(f.num(x)).toBe('–');
      expect(f.usd(x)).toBe('–');
      expect(f.power(x)).toBe('–');
      expect(f.hash(x)).toBe('–');
      expect(f.energy(x)).toBe('–');
      expect(f.span(x)).toBe('–');
      expect(f.percent(x)).toBe('–');
    }
  });
  it('groups, rounds, and has no negative zero', () => {
    expect(f.num(1234567.891, 1)).toBe('1,234,567.9');
    expect(f.num(-0.04, 1)).toBe('0.0');
    expect(f.num(-12)).toBe('−12');
  });
  it('chooses the unit by size', () => {
    expect(f.power(999)).toBe('999 W');
    expect(f.power(3250)).toBe('3.25 kW');
    expect(f.power(2_140_000)).toBe('2.14 MW');
    expect(f.power(0)).toBe('0 W');
    expect(f.hash(0.0021)).toBe('2.10 GH/s');
    expect(f.hash(200)).toBe('200.00 TH/s');
    expect(f.hash(118_000)).toBe('118.00 PH/s');
    expect(f.hash(0)).toBe('0.00 TH/s');
    expect(f.energy(3_600_000)).toBe('1.00 kWh');
  });
  it('writes money with the sign before the currency', () => {
    expect(f.usd(-12.5)).toBe('−$12.50');
    expect(f.usd(0)).toBe('$0.00');
    expect(f.usd(0.0123)).toBe('$0.0123');
    expect(f.usd(65432.1)).toBe('$65,432');
    expect(f.usd(-0.00001)).toBe('$0.0000');
    expect(f.usdMicros(2_690_000)).toBe('$2.69');
    expect(f.usdSigned(3)).toBe('+$3.00');
    expect(f.usdSigned(-3)).toBe('−$3.00');
  });
});

describe('times', () => {
  it('writes spans in the unit that suits them', () => {
    expect(f.span(850)).toBe('850 ns');
    expect(f.span(42_300)).toBe('42.3 µs');
    expect(f.span(3_214_000)).toBe('3.21 ms');
    expect(f.span(31_400_000)).toBe('31.4 ms');
    expect(f.span(12_300_000_000)).toBe('12.3 s');
    expect(f.span(3600e9)).toBe('1 h 0 min');
    expect(f.span(90_061e9)).toBe('1 d 1 h');
  });
  it('does not lose seconds of nanosecond stamps beyond 2^53', () => {
    const stamp = JSON.parse('1731628800123456789') as number;
    expect(f.utc(stamp)).toBe('2024-11-15 00:00:00 UTC');
  });
  it('adds the date when it is another day', () => {
    const now = new Date(2026, 10, 20, 12, 0, 0);
    const ns = (d: Date) => d.getTime() * 1e6;
    expect(f.when(ns(new Date(2026, 10, 20, 9, 5, 7)), now)).toBe('09:05:07');
    expect(f.when(ns(new Date(2026, 10, 19, 9, 5, 7)), now)).toBe('19 Nov 09:05:07');
    expect(f.when(ns(new Date(2024, 1, 3, 9, 5, 7)), now)).toBe('03 Feb 2024 09:05:07');
    expect(f.when(0, now)).toBe('–');
  });
  it('says how long ago', () => {
    expect(f.age(1_000e9, 1_012_000)).toBe('12 s');
    expect(f.age(1_000e9, 1_000_000 + 5 * 60e3)).toBe('5 min');
    expect(f.age(2_000e9, 1_000_000)).toBe('0 s'); // clocks differ: never negative
    expect(f.age(0, 5)).toBe('–');
  });
});

describe('words', () => {
  it('names enums and symbols', () => {
    expect(f.words('ai_inference_realtime')).toBe('AI inference, real time');
    expect(f.words('rolled_back')).toBe('Rolled back');
    expect(f.words('')).toBe('–');
    expect(f.priceValue('electricity_rt', 41.234)).toBe('41.23 USD/MWh');
    expect(f.priceValue('btc_usd', 59400.4)).toBe('$59,400');
    expect(f.priceValue('difficulty', 86.87e12)).toBe('86.87 T');
  });
});
