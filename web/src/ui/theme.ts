import { createTheme, type Theme } from '@mui/material/styles';
import type { ThemeMode } from '../state/prefs';

export interface Tones {
  page: string;
  panel: string;
  raised: string;
  line: string;
  text: string;
  quiet: string; // labels, units
  faint: string; // axes; still readable (4.5:1)
  accent: string;
  onAccent: string;
  mine: string;
  serve: string;
  idle: string;
  good: string;
  warn: string;
  bad: string;
}

const DARK: Tones = {
  page: '#0a0e13',
  panel: '#10161d',
  raised: '#18212b',
  line: '#222d38',
  text: '#e6ebf1',
  quiet: '#9eabb9',
  faint: '#8492a2',
  accent: '#7db3ff',
  onAccent: '#06121f',
  mine: '#f0a44b',
  serve: '#3ec6b4',
  idle: '#66758a',
  good: '#55c790',
  warn: '#f0d06a',
  bad: '#ff7f70',
};

const LIGHT: Tones = {
  page: '#f1f4f6',
  panel: '#ffffff',
  raised: '#eef2f5',
  line: '#d8dfe6',
  text: '#14202b',
  quiet: '#495867',
  faint: '#5d6b7a',
  accent: '#0b5cad',
  onAccent: '#ffffff',
  mine: '#a35f00',
  serve: '#0a7f72',
  idle: '#8a98a8',
  good: '#1a7a4a',
  warn: '#806000',
  bad: '#bf3127',
};

declare module '@mui/material/styles' {
  interface Theme {
    tones: Tones;
  }
  interface ThemeOptions {
    tones?: Tones;
  }
}

export const MONO = '"IBM Plex Mono", ui-monospace, SFMono-Regular, Menlo, monospace';
const SANS = '"IBM Plex Sans", system-ui, -apple-system, "Segoe UI", sans-serif';

export function makeTheme(mode: ThemeMode): Theme {
  const t = mode === 'dark' ? DARK : LIGHT;
  return createTheme({
    tones: t,
    palette: {
      mode,
      primary: { main: t.accent, contrastText: t.onAccent },
      error: { main: t.bad, contrastText: mode === 'dark' ? '#1d0705' : '#ffffff' },
      success: { main: t.good },
      warning: { main: t.warn },
      background: { default: t.page, paper: t.panel },
      text: { primary: t.text, secondary: t.quiet },
      divider: t.line,
    },
    shape: { borderRadius: 6 },
    typography: {
      fontFamily: SANS,
      fontSize: 13,
      h1: { fontSize: '1.25rem', fontWeight: 600, letterSpacing: '-0.005em', lineHeight: 1.3 },
      h2: { fontSize: '0.875rem', fontWeight: 600, lineHeight: 1.4 },
      h3: { fontSize: '0.8125rem', fontWeight: 600, lineHeight: 1.4 },
      body1: { fontSize: '0.875rem', lineHeight: 1.5 },
      body2: { fontSize: '0.8125rem', lineHeight: 1.5 },
      caption: { fontSize: '0.75rem', lineHeight: 1.4 },
      button: { textTransform: 'none', fontWeight: 500, fontSize: '0.8125rem' },
    },
    components: {
      MuiCssBaseline: {
        styleOverrides: {
          html: { scrollbarColor: `${t.idle} transparent`, scrollbarWidth: 'thin' },
          body: { fontVariantNumeric: 'tabular-nums', WebkitFontSmoothing: 'antialiased' },
          ':focus-visible': { outline: `2px solid ${t.accent}`, outlineOffset: 2 },
          a: { color: t.accent },
          '@media (prefers-reduced-motion: reduce)': {
            '*': { animationDuration: '0.01ms !important', transitionDuration: '0.01ms !important' },
          },
        },
      },
      MuiPaper: { styleOverrides: { root: { backgroundImage: 'none' } }, defaultProps: { elevation: 0 } },
      MuiButtonBase: { defaultProps: { disableRipple: true } },
      MuiButton: {
        defaultProps: { disableElevation: true, size: 'small' },
        styleOverrides: {
          root: {
            borderRadius: 5,
            padding: '5px 12px',
            minHeight: 32,
            '&.Mui-focusVisible': { outline: `2px solid ${t.accent}`, outlineOffset: 2 },
          },
          outlined: { borderColor: t.line, color: t.text, '&:hover': { borderColor: t.idle, background: t.raised } },
          outlinedError: { color: t.bad, borderColor: `${t.bad}88`, '&:hover': { background: `${t.bad}18` } },
        },
      },
      MuiIconButton: {
        styleOverrides: {
          root: { borderRadius: 5, '&.Mui-focusVisible': { outline: `2px solid ${t.accent}`, outlineOffset: 1 } },
        },
      },
      MuiTableCell: {
        styleOverrides: {
          root: { borderBottom: `1px solid ${t.line}`, padding: '7px 12px', fontSize: '0.8125rem', whiteSpace: 'nowrap' },
          sizeSmall: { '&:first-of-type': { paddingLeft: 16 }, '&:last-of-type': { paddingRight: 16 } },
          head: { color: t.quiet, fontWeight: 500, fontSize: '0.75rem', background: t.panel, lineHeight: 1.4 },
        },
      },
      MuiDialog: {
        styleOverrides: { paper: { border: `1px solid ${t.line}`, borderRadius: 8, boxShadow: '0 24px 64px #0008' } },
      },
      MuiDialogTitle: { styleOverrides: { root: { fontSize: '1rem', fontWeight: 600, padding: '18px 20px 8px' } } },
      MuiDialogContent: { styleOverrides: { root: { padding: '8px 20px 12px' } } },
      MuiDialogActions: { styleOverrides: { root: { padding: '8px 20px 18px' } } },
      MuiDrawer: { styleOverrides: { paper: { background: t.panel } } },
      MuiMenu: { styleOverrides: { paper: { border: `1px solid ${t.line}`, boxShadow: '0 12px 32px #0006' } } },
      MuiTooltip: {
        defaultProps: { enterDelay: 300, arrow: false },
        styleOverrides: {
          tooltip: {
            background: t.raised,
            color: t.text,
            border: `1px solid ${t.line}`,
            fontSize: '0.75rem',
            fontWeight: 400,
          },
        },
      },
      MuiTextField: { defaultProps: { size: 'small', fullWidth: true } },
      MuiOutlinedInput: {
        styleOverrides: {
          root: { fontSize: '0.875rem' },
          notchedOutline: { borderColor: mode === 'dark' ? '#3a4756' : '#9aa6b3' },
        },
      },
      MuiInputLabel: { styleOverrides: { root: { fontSize: '0.875rem' } } },
      MuiFormHelperText: { styleOverrides: { root: { marginLeft: 0 } } },
      MuiMenuItem: { styleOverrides: { root: { fontSize: '0.8125rem', minHeight: 34 } } },
      MuiToggleButton: {
        styleOverrides: {
          root: {
            textTransform: 'none',
            padding: '3px 10px',
            fontSize: '0.75rem',
            borderColor: t.line,
            color: t.quiet,
            '&.Mui-selected': { color: t.text, background: t.raised },
          },
        },
      },
      MuiSkeleton: { defaultProps: { animation: 'pulse' }, styleOverrides: { root: { background: t.raised } } },
      MuiAlert: { styleOverrides: { root: { fontSize: '0.8125rem', alignItems: 'center' } } },
    },
  });
}
