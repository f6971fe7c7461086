import {
  Alert,
  Box,
  Button,
  Divider,
  Drawer,
  IconButton,
  Menu,
  MenuItem,
  Stack,
  TextField,
  Tooltip,
  Typography,
  useMediaQuery,
  useTheme,
} from '@mui/material';
import { useEffect, useState, type ComponentType } from 'react';
import { NavLink, Outlet, useLocation, useNavigate } from 'react-router-dom';
import { api } from '../api/api';
import { themeChosen } from '../state/prefs';
import { isStaff, signedOut } from '../state/session';
import { useAppDispatch, useAppSelector } from '../state/store';
import { num, utc, words } from './format';
import {
  FleetIcon,
  KeyIcon,
  Mark,
  MenuIcon,
  CareIcon,
  ModelIcon,
  MoneyIcon,
  MoonIcon,
  OverviewIcon,
  PriceIcon,
  StopIcon,
  SunIcon,
  SwitchIcon,
  UsageIcon,
  UserIcon,
  WorkIcon,
} from './icons';
import { Confirm, useNow } from './parts';

interface Entry {
  to: string;
  name: string;
  icon: ComponentType<{ sx?: object }>;
}

const STAFF: Entry[] = [
  { to: '/overview', name: 'Overview', icon: OverviewIcon },
  { to: '/decisions', name: 'Prices & decisions', icon: PriceIcon },
  { to: '/fleet', name: 'Fleet', icon: FleetIcon },
  { to: '/switches', name: 'Switches', icon: SwitchIcon },
  { to: '/operations', name: 'Operations', icon: CareIcon },
  { to: '/models', name: 'Models', icon: ModelIcon },
  { to: '/workloads', name: 'Workloads', icon: WorkIcon },
  { to: '/revenue', name: 'Revenue', icon: MoneyIcon },
  { to: '/keys', name: 'API keys', icon: KeyIcon },
];
const CUSTOMER: Entry[] = [
  { to: '/workloads', name: 'Workloads', icon: WorkIcon },
  { to: '/usage', name: 'Usage', icon: UsageIcon },
  { to: '/keys', name: 'API keys', icon: KeyIcon },
];

const RAIL = 204;

function Nav({ entries, onGo }: { entries: Entry[]; onGo?: () => void }) {
  const { tones } = useTheme();
  return (
    <Box component="nav" aria-label="Pages" sx={{ px: 1.25, py: 0.5 }}>
      {entries.map(({ to, name, icon: Icon }) => (
        <Box
          key={to}
          component={NavLink}
          to={to}
          onClick={onGo}
          sx={{
            display: 'flex',
            alignItems: 'center',
            gap: 1.25,
            px: 1.25,
            py: 0.9,
            mb: '2px',
            borderRadius: 0.75,
            color: tones.quiet,
            textDecoration: 'none',
            fontSize: '0.8438rem',
            '&:hover': { color: tones.text, background: tones.raised },
            '&.active': { color: tones.text, background: tones.raised, fontWeight: 500, boxShadow: `inset 2px 0 0 ${tones.accent}` },
          }}
        >
          <Icon sx={{ fontSize: 19 }} />
          {name}
        </Box>
      ))}
    </Box>
  );
}

function Brand() {
  return (
    <Stack direction="row" sx={{ alignItems: 'center', gap: 1.25, px: 2.25, height: 52 }}>
      <Mark size={20} />
      <Typography component="span" sx={{ fontWeight: 600, fontSize: '0.9375rem', letterSpacing: '0.04em' }}>
        HCP
      </Typography>
    </Stack>
  );
}

function LinkSign() {
  const { tones } = useTheme();
  const link = useAppSelector((s) => s.live.link);
  const last = useAppSelector((s) => s.live.lastEventAtMs);
  const now = useNow(1000);
  const live = link === 'live';
  const color = live ? tones.good : link === 'closed' ? tones.idle : tones.warn;
  const text = live ? 'Live' : link === 'closed' ? 'Offline' : 'Reconnecting';
  const since = last ? `last event ${Math.max(0, Math.round((now - last) / 1000))} s ago` : 'no event yet';
  return (
    <Tooltip title={live ? `Live connection: ${since}` : 'Live updates are off; numbers are read every few seconds instead.'}>
      <Box component="span" role="status" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.875, fontSize: '0.8125rem', color: tones.quiet }}>
        <Box
          component="span"
          aria-hidden="true"
          sx={{ width: 8, height: 8, borderRadius: '50%', background: color, boxShadow: live ? `0 0 0 3px ${color}30` : 'none' }}
        />
        {text}
      </Box>
    </Tooltip>
  );
}

function Readout({ label, children }: { label: string; children: React.ReactNode }) {
  const { tones } = useTheme();
  return (
    <Box component="span" sx={{ fontSize: '0.8125rem', whiteSpace: 'nowrap' }}>
      <Box component="span" sx={{ color: tones.quiet, mr: 0.75 }}>
        {label}
      </Box>
      {children}
    </Box>
  );
}

function MarketStrip() {
  const { data } = api.usePricesQuery(undefined, { pollingInterval: 5000 });
  const electricity = data?.prices.find((p) => p.symbol === 'electricity_rt');
  const btc = data?.prices.find((p) => p.symbol === 'btc_usd');
  if (!data) return null;
  return (
    <Stack direction="row" sx={{ gap: 2.5, display: { xs: 'none', lg: 'flex' } }}>
      {data.market_time_ns > 0 && <Readout label="Market time">{`${utc(data.market_time_ns).slice(0, 16)} UTC`}</Readout>}
      {electricity && <Readout label={electricity.location || 'Electricity'}>{num(electricity.value, 2)} USD/MWh</Readout>}
      {btc && <Readout label="BTC">${num(btc.value)}</Readout>}
    </Stack>
  );
}

function EmergencyStop() {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState('');
  const status = api.useStatusQuery(undefined, { pollingInterval: 5000 });
  const [stop, state] = api.useStopMutation();
  const stopped = status.data?.mode === 'emergency_stop';
  if (stopped) return null;
  return (
    <>
      <Button
        variant="outlined"
        color="error"
        startIcon={<StopIcon />}
        onClick={() => {
          state.reset();
          setOpen(true);
        }}
        sx={{ whiteSpace: 'nowrap' }}
      >
        <Box component="span" sx={{ display: { xs: 'none', sm: 'inline' } }}>
          Emergency stop
        </Box>
        <Box component="span" sx={{ display: { xs: 'inline', sm: 'none' } }}>
          Stop
        </Box>
      </Button>
      <Confirm
        open={open}
        danger
        title="Stop all work on the site?"
        action="Stop the site now"
        busy={state.isLoading}
        error={state.error}
        onNo={() => setOpen(false)}
        onYes={async () => {
          const r = await stop({ reason: reason.trim() || 'operator' });
          if ('data' in r) setOpen(false);
        }}
      >
        Mining ends, customers’ work is paused, and every device goes to safe watts. It stays so until an operator clears
        the stop.
        <TextField
          label="Reason"
          value={reason}
          onChange={(e) => setReason(e.target.value)}
          helperText="Kept in the audit log"
          sx={{ mt: 2 }}
          slotProps={{ htmlInput: { maxLength: 200 } }}
        />
      </Confirm>
    </>
  );
}

function EmergencyBanner() {
  const status = api.useStatusQuery(undefined, { pollingInterval: 5000 });
  const [clear, state] = api.useClearMutation();
  const [open, setOpen] = useState(false);
  const staff = isStaff(useAppSelector((s) => s.session.role));
  if (status.data?.mode !== 'emergency_stop') return null;
  return (
    <Alert
      severity="error"
      variant="filled"
      icon={<StopIcon />}
      sx={{ borderRadius: 0 }}
      action={
        staff && (
          <Button color="inherit" variant="text" onClick={() => setOpen(true)}>
            Clear the stop
          </Button>
        )
      }
    >
      <b>Emergency stop.</b> The site is at safe watts{status.data.emergency_reason ? `: ${status.data.emergency_reason}` : ''}.
      <Confirm
        open={open}
        title="Clear the emergency stop?"
        action="Return to normal"
        busy={state.isLoading}
        error={state.error}
        onNo={() => setOpen(false)}
        onYes={async () => {
          const r = await clear({ reason: 'operator' });
          if ('data' in r) setOpen(false);
        }}
      >
        The optimizer takes over again and switches devices according to the market.
      </Confirm>
    </Alert>
  );
}

export function ThemeSwitch() {
  const dispatch = useAppDispatch();
  const dark = useAppSelector((s) => s.prefs.theme) === 'dark';
  return (
    <Tooltip title={dark ? 'Light theme' : 'Dark theme'}>
      <IconButton
        onClick={() => dispatch(themeChosen(dark ? 'light' : 'dark'))}
        aria-label={dark ? 'Use the light theme' : 'Use the dark theme'}
        size="small"
      >
        {dark ? <SunIcon fontSize="small" /> : <MoonIcon fontSize="small" />}
      </IconButton>
    </Tooltip>
  );
}

function UserMenu() {
  const dispatch = useAppDispatch();
  const navigate = useNavigate();
  const session = useAppSelector((s) => s.session);
  const [logout] = api.useLogoutMutation();
  const [anchor, setAnchor] = useState<HTMLElement | null>(null);
  return (
    <>
      <Tooltip title="Account">
        <IconButton size="small" aria-label="Account" aria-haspopup="menu" onClick={(e) => setAnchor(e.currentTarget)}>
          <UserIcon fontSize="small" />
        </IconButton>
      </Tooltip>
      <Menu anchorEl={anchor} open={!!anchor} onClose={() => setAnchor(null)}>
        <Box sx={{ px: 2, py: 1, minWidth: 200 }}>
          <Typography variant="body2" sx={{ fontWeight: 500 }}>
            {session.name}
          </Typography>
          <Typography variant="caption" color="text.secondary">
            {session.email && session.email !== session.name ? `${session.email} · ` : ''}
            {words(session.role)}
          </Typography>
        </Box>
        <Divider />
        <MenuItem
          onClick={() => {
            setAnchor(null);
            void logout();
            dispatch(signedOut());
            navigate('/');
          }}
        >
          Sign out
        </MenuItem>
      </Menu>
    </>
  );
}

export function Shell() {
  const theme = useTheme();
  const { tones } = theme;
  const wide = useMediaQuery(theme.breakpoints.up('md'), { noSsr: true });
  const [open, setOpen] = useState(false);
  const role = useAppSelector((s) => s.session.role);
  const staff = isStaff(role);
  const entries = staff ? STAFF : CUSTOMER;
  const { pathname } = useLocation();

  useEffect(() => {
    document.getElementById('main')?.scrollTo(0, 0);
    window.scrollTo(0, 0);
  }, [pathname]);

  return (
    <Box sx={{ display: 'flex', minHeight: '100dvh' }}>
      <Box
        component="a"
        href="#main"
        sx={{ position: 'absolute', left: -9999, '&:focus': { left: 12, top: 12, zIndex: 2000, background: tones.panel, p: 1.5 } }}
      >
        Skip to the content
      </Box>
      {wide ? (
        <Box
          sx={{ width: RAIL, flex: 'none', borderRight: `1px solid ${tones.line}`, background: tones.panel, position: 'sticky', top: 0, height: '100dvh', display: 'flex', flexDirection: 'column' }}
        >
          <Brand />
          <Nav entries={entries} />
        </Box>
      ) : (
        <Drawer open={open} onClose={() => setOpen(false)} slotProps={{ paper: { sx: { width: 248 } } }}>
          <Brand />
          <Nav entries={entries} onGo={() => setOpen(false)} />
        </Drawer>
      )}
      <Box sx={{ flexGrow: 1, minWidth: 0, display: 'flex', flexDirection: 'column' }}>
        <Stack
          component="header"
          direction="row"
          sx={{ height: 52, px: { xs: 1, sm: 2.5 }, gap: { xs: 1, sm: 2.5 }, alignItems: 'center', borderBottom: `1px solid ${tones.line}`, background: tones.panel, position: 'sticky', top: 0, zIndex: 1100 }}
        >
          {!wide && (
            <IconButton aria-label="Open the menu" onClick={() => setOpen(true)} size="small">
              <MenuIcon />
            </IconButton>
          )}
          <LinkSign />
          {staff && <MarketStrip />}
          <Box sx={{ flexGrow: 1 }} />
          {staff && <EmergencyStop />}
          <Stack direction="row" sx={{ gap: 0.5 }}>
            <ThemeSwitch />
            <UserMenu />
          </Stack>
        </Stack>
        <EmergencyBanner />
        <Box component="main" id="main" tabIndex={-1} sx={{ p: { xs: 1.5, sm: 2.5 }, outline: 'none', minWidth: 0, flexGrow: 1 }}>
          <Outlet />
        </Box>
      </Box>
    </Box>
  );
}
