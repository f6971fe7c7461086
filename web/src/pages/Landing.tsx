import { Box, Button, Stack, Typography, useTheme } from '@mui/material';
import { Link } from 'react-router-dom';
import { isStaff } from '../state/session';
import { useAppSelector } from '../state/store';
import { ArrowIcon, Mark } from '../ui/icons';
import { useTitle } from '../ui/parts';
import { ThemeSwitch } from '../ui/Shell';
import type { Tones } from '../ui/theme';

// One day drawn by rule: how a site divides its watts as the price moves. An illustration, not data.
function priceAt(h: number): number {
  const spike = 150 * Math.exp(-(((h - 18) / 1.1) ** 2));
  return 24 + 9 * Math.sin((h - 9) / 3.8) - 20 * Math.exp(-(((h - 12.5) / 2.6) ** 2)) + spike;
}

function Day() {
  const { tones } = useTheme();
  const hours = Array.from({ length: 48 }, (_, i) => i / 2);
  const max = 175;
  const x = (h: number) => (h / 24) * 960;
  const bar = 960 / 48 - 3;
  return (
    <Box sx={{ overflowX: 'hidden' }}>
      <svg viewBox="0 0 960 300" width="100%" role="img" aria-label="Illustration: over a day the site serves AI at a steady level, mines while power is cheap, and stops mining to sell power when the price spikes in the evening.">
        {hours.map((h) => {
          const p = priceAt(h);
          const serve = 62 + 26 * Math.exp(-(((h - 14) / 5) ** 2));
          const mine = p > 60 ? 0 : p > 34 ? 42 : 166 - serve;
          const sell = Math.max(0, 172 - serve - mine);
          const top = (n: number) => 292 - n;
          return (
            <g key={h}>
              <rect x={x(h)} y={top(serve)} width={bar} height={serve} fill={tones.serve} />
              <rect x={x(h)} y={top(serve + mine + 2)} width={bar} height={mine} fill={tones.mine} />
              <rect x={x(h)} y={top(serve + mine + sell + 4)} width={bar} height={sell} fill={tones.accent} opacity={p > 60 ? 0.85 : 0.16} />
            </g>
          );
        })}
        <polyline
          fill="none"
          stroke={tones.text}
          strokeWidth="2"
          strokeLinejoin="round"
          points={Array.from({ length: 193 }, (_, i) => i / 8)
            .map((h) => `${x(h).toFixed(1)},${(104 - (priceAt(h) / max) * 96).toFixed(1)}`)
            .join(' ')}
        />
      </svg>
      <Stack direction="row" useFlexGap sx={{ gap: 2.5, flexWrap: 'wrap', mt: 1.5, fontSize: '0.8125rem', color: tones.quiet }}>
        {(
          [
            ['AI inference', 'serve'],
            ['Bitcoin mining', 'mine'],
            ['Power sold', 'accent'],
          ] as [string, keyof Tones][]
        ).map(([name, tone]) => (
          <Box key={name} component="span" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.875 }}>
            <Box component="span" aria-hidden="true" sx={{ width: 10, height: 10, borderRadius: '2px', background: tones[tone] }} />
            {name}
          </Box>
        ))}
        <Box component="span" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.875 }}>
          <Box component="span" aria-hidden="true" sx={{ width: 14, height: 2, background: tones.text }} />
          Electricity price
        </Box>
        <Box component="span" sx={{ ml: { sm: 'auto' } }}>
          Illustration of one day
        </Box>
      </Stack>
    </Box>
  );
}

const POINTS: [string, string, keyof Tones][] = [
  [
    'Decides on the price of now',
    'Electricity, bitcoin, hashprice and GPU rates are weighed the moment one of them moves. Every decision is kept with its inputs, the options and why they lost.',
    'accent',
  ],
  [
    'Switches in milliseconds',
    'A device that mines stands ready to serve. A request that needs it gets it: the switch is commanded, verified by watts or a served answer, and timed phase by phase.',
    'serve',
  ],
  [
    'Accounts for every joule',
    'Energy is metered at the device and charged to what it was used for: a customer’s work, mining, or nothing. Revenue and cost stand side by side, hour by hour.',
    'mine',
  ],
];

export function Landing() {
  useTitle('Each watt where it earns most');
  const { tones } = useTheme();
  const session = useAppSelector((s) => s.session);
  const to = session.token ? (isStaff(session.role) ? '/overview' : '/workloads') : '/login';
  const enter = session.token ? 'Open the control room' : 'Sign in';
  return (
    <Box sx={{ maxWidth: 1080, mx: 'auto', px: { xs: 2.5, sm: 4 }, minHeight: '100dvh', display: 'flex', flexDirection: 'column' }}>
      <Stack component="header" direction="row" sx={{ alignItems: 'center', gap: 1.5, height: 72 }}>
        <Mark size={22} />
        <Typography component="span" sx={{ fontWeight: 600, letterSpacing: '0.04em', flexGrow: 1 }}>
          HCP
        </Typography>
        <ThemeSwitch />
        <Button component={Link} to={to} variant="outlined">
          {enter}
        </Button>
      </Stack>
      <Box component="main" sx={{ flexGrow: 1 }}>
        <Box sx={{ pt: { xs: 5, sm: 9 }, pb: { xs: 4, sm: 6 }, maxWidth: 720 }}>
          <Typography component="h1" sx={{ fontSize: { xs: '2rem', sm: '2.75rem' }, fontWeight: 600, letterSpacing: '-0.02em', lineHeight: 1.12, textWrap: 'balance' }}>
            Each watt where it earns most.
          </Typography>
          <Typography sx={{ mt: 2.5, fontSize: '1.0625rem', lineHeight: 1.6, color: tones.quiet, maxWidth: '58ch', textWrap: 'pretty' }}>
            HCP runs a hybrid data centre. It serves AI inference, mines Bitcoin or leaves the power to the grid, class by
            class and minute by minute, and it can say why.
          </Typography>
          <Button component={Link} to={to} variant="contained" endIcon={<ArrowIcon />} sx={{ mt: 3.5, px: 2.5, minHeight: 44, fontSize: '0.9375rem' }}>
            {enter}
          </Button>
        </Box>
        <Box sx={{ background: tones.panel, border: `1px solid ${tones.line}`, borderRadius: 1.25, p: { xs: 2, sm: 3 } }}>
          <Day />
        </Box>
        <Box sx={{ display: 'grid', gridTemplateColumns: { xs: '1fr', md: 'repeat(3, 1fr)' }, gap: { xs: 3, md: 5 }, py: { xs: 5, sm: 7 } }}>
          {POINTS.map(([head, text, tone]) => (
            <Box key={head} sx={{ borderTop: `2px solid ${tones[tone]}`, pt: 2 }}>
              <Typography component="h2" sx={{ fontWeight: 600, fontSize: '0.9375rem', mb: 0.75 }}>
                {head}
              </Typography>
              <Typography variant="body1" sx={{ color: tones.quiet }}>
                {text}
              </Typography>
            </Box>
          ))}
        </Box>
      </Box>
      <Box component="footer" sx={{ borderTop: `1px solid ${tones.line}`, py: 2.5, color: tones.quiet, fontSize: '0.8125rem' }}>
        The REST API is at <code>/api/v1</code>, live topics at <code>/api/v1/ws</code>.
      </Box>
    </Box>
  );
}
