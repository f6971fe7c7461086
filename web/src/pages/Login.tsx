import { Alert, Box, Button, Stack, TextField, Typography, useTheme } from '@mui/material';
import { useState, type FormEvent } from 'react';
import { Link, Navigate, useLocation } from 'react-router-dom';
import { api } from '../api/api';
import { advice, asProblem, formErrors } from '../api/problem';
import { isStaff, signedIn } from '../state/session';
import { useAppDispatch, useAppSelector } from '../state/store';
import { Mark } from '../ui/icons';
import { useTitle } from '../ui/parts';
import { ThemeSwitch } from '../ui/Shell';

export function LoginPage() {
  useTitle('Sign in');
  const { tones } = useTheme();
  const dispatch = useAppDispatch();
  const session = useAppSelector((s) => s.session);
  const from = (useLocation().state as { from?: string } | null)?.from;
  const [login, state] = api.useLoginMutation();
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [missing, setMissing] = useState<Record<string, string>>({});

  if (session.token) return <Navigate to={from ?? (isStaff(session.role) ? '/overview' : '/workloads')} replace />;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const lack: Record<string, string> = {};
    if (!email.trim()) lack.email = 'Enter your e-mail address';
    if (!password) lack.password = 'Enter your password';
    setMissing(lack);
    if (Object.keys(lack).length) return;
    const r = await login({ email: email.trim(), password });
    if ('data' in r && r.data) dispatch(signedIn({ session: r.data, nowMs: Date.now() }));
  };

  const problem = state.error ? asProblem(state.error) : null;
  const errors = problem ? formErrors(problem, ['email', 'password']) : { field: {} as Record<string, string>, form: '' };
  const at = (f: string) => missing[f] ?? errors.field[f];
  const form =
    problem?.status === 401 ? 'E-mail or password is wrong.' : errors.form && `${errors.form}. ${advice(problem!)}`.replace('..', '.');

  return (
    <Box sx={{ minHeight: '100dvh', display: 'grid', placeItems: 'center', p: 2 }}>
      <Box sx={{ position: 'absolute', top: 12, right: 12 }}>
        <ThemeSwitch />
      </Box>
      <Box
        component="main"
        sx={{ width: '100%', maxWidth: 380, background: tones.panel, border: `1px solid ${tones.line}`, borderRadius: 1.25, p: { xs: 2.5, sm: 4 } }}
      >
        <Stack direction="row" sx={{ alignItems: 'center', gap: 1.5, mb: 3 }}>
          <Mark size={24} />
          <Typography variant="h1">Sign in to HCP</Typography>
        </Stack>
        {session.notice && !problem && (
          <Alert severity="info" sx={{ mb: 2 }}>
            {session.notice}
          </Alert>
        )}
        {form && (
          <Alert severity="error" sx={{ mb: 2 }}>
            {form}
          </Alert>
        )}
        <Stack component="form" onSubmit={submit} noValidate sx={{ gap: 2 }}>
          <TextField
            id="email"
            label="E-mail"
            type="email"
            autoComplete="username"
            autoFocus
            value={email}
            onChange={(e) => setEmail(e.target.value)}
            error={!!at('email')}
            helperText={at('email')}
          />
          <TextField
            id="password"
            label="Password"
            type="password"
            autoComplete="current-password"
            value={password}
            onChange={(e) => setPassword(e.target.value)}
            error={!!at('password')}
            helperText={at('password')}
          />
          <Button type="submit" variant="contained" size="medium" disabled={state.isLoading} sx={{ minHeight: 40 }}>
            {state.isLoading ? 'Signing in…' : 'Sign in'}
          </Button>
        </Stack>
        <Typography variant="body2" sx={{ mt: 3 }}>
          <Link to="/">What HCP is</Link>
        </Typography>
      </Box>
    </Box>
  );
}
