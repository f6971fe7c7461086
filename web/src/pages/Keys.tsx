import { Alert, Box, Button, Dialog, DialogActions, DialogContent, DialogTitle, Stack, TextField, Typography, useTheme } from '@mui/material';
import { useState, type FormEvent } from 'react';
import { api } from '../api/api';
import { asProblem, formErrors } from '../api/problem';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { CopyIcon, PlusIcon } from '../ui/icons';
import { Confirm, Empty, Id, Loaded, Page, Panel, State, When } from '../ui/parts';
import { MONO } from '../ui/theme';

function Create({ onClose }: { onClose: () => void }) {
  const { tones } = useTheme();
  const [create, state] = api.useCreateKeyMutation();
  const [name, setName] = useState('');
  const [lack, setLack] = useState('');
  const [copied, setCopied] = useState('');
  const errors = state.error ? formErrors(asProblem(state.error), ['name']) : { field: {} as Record<string, string>, form: '' };
  const made = state.data;

  const submit = async (e: FormEvent) => {
    e.preventDefault();
    if (!name.trim()) {
      setLack('Say what the key is for');
      return;
    }
    setLack('');
    await create({ name: name.trim() });
  };
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(made?.secret ?? '');
      setCopied('Copied.');
    } catch {
      setCopied('The browser did not allow copying: select the secret and copy it by hand.');
    }
  };

  if (made) {
    return (
      <Dialog open maxWidth="sm" fullWidth aria-labelledby="key-title">
        <DialogTitle id="key-title">Key “{made.name}” is ready</DialogTitle>
        <DialogContent>
          <Alert severity="warning" sx={{ mb: 2 }}>
            Copy the secret now. It is shown only once.
          </Alert>
          <Stack direction="row" sx={{ gap: 1, alignItems: 'center' }}>
            <Box data-secret="" tabIndex={0} sx={{ flexGrow: 1, fontFamily: MONO, fontSize: '0.8125rem', p: 1.25, background: tones.page, border: `1px solid ${tones.line}`, borderRadius: 0.75, overflowWrap: 'anywhere', userSelect: 'all' }}>
              {made.secret}
            </Box>
            <Button variant="outlined" startIcon={<CopyIcon />} onClick={copy}>
              Copy
            </Button>
          </Stack>
          <Typography role="status" variant="caption" color="text.secondary" component="p" sx={{ mt: 1, minHeight: '1.4em' }}>
            {copied}
          </Typography>
        </DialogContent>
        <DialogActions>
          <Button variant="contained" onClick={onClose}>
            I have copied it
          </Button>
        </DialogActions>
      </Dialog>
    );
  }
  return (
    <Dialog open onClose={onClose} maxWidth="xs" fullWidth aria-labelledby="key-title">
      <form onSubmit={submit} noValidate>
        <DialogTitle id="key-title">New API key</DialogTitle>
        <DialogContent>
          <TextField autoFocus id="key-name" label="Name" value={name} onChange={(e) => setName(e.target.value)} error={!!(lack || errors.field.name)} helperText={lack || errors.field.name || 'For example the program that will use it'} sx={{ mt: 1 }} slotProps={{ htmlInput: { maxLength: 120 } }} />
          {errors.form && (
            <Alert severity="error" sx={{ mt: 2 }}>
              {errors.form}
            </Alert>
          )}
        </DialogContent>
        <DialogActions>
          <Button variant="outlined" onClick={onClose}>
            Go back
          </Button>
          <Button type="submit" variant="contained" disabled={state.isLoading}>
            Create key
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

export function Keys() {
  const query = api.useKeysQuery();
  const [revoke, state] = api.useRevokeKeyMutation();
  const [creating, setCreating] = useState(false);
  const [gone, setGone] = useState<T.ApiKey | null>(null);
  const add = (
    <Button variant="contained" startIcon={<PlusIcon />} onClick={() => setCreating(true)}>
      New API key
    </Button>
  );
  return (
    <Page title="API keys" about="For programs that use the REST API or the inference endpoint instead of a login." actions={add}>
      <Panel title="Keys" flush>
        <Loaded query={query}>
          {({ keys }) => (
            <DataTable
              label="API keys"
              rows={keys}
              rowKey={(k) => k.id}
              empty={<Empty title="No API key yet">Create one for each program, so that each can be revoked by itself.</Empty>}
              columns={[
                { head: 'Name', cell: (k) => k.name },
                { head: 'Starts with', cell: (k) => <Id>{k.prefix}</Id> },
                { head: 'Created', cell: (k) => <When ns={k.created_at_ns} />, from: 'sm' },
                { head: 'State', cell: (k) => <State state={k.revoked ? 'revoked' : 'active'} /> },
                {
                  head: 'Action',
                  right: true,
                  cell: (k) =>
                    k.revoked ? null : (
                      <Button variant="outlined" color="error" aria-label={`Revoke ${k.name}`} onClick={() => { state.reset(); setGone(k); }}>
                        Revoke
                      </Button>
                    ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {creating && <Create onClose={() => setCreating(false)} />}
      <Confirm
        open={!!gone}
        danger
        title={`Revoke “${gone?.name ?? ''}”?`}
        action="Revoke the key"
        busy={state.isLoading}
        error={state.error}
        onNo={() => setGone(null)}
        onYes={async () => {
          if (!gone) return;
          const r = await revoke(gone.id);
          if ('data' in r) setGone(null);
        }}
      >
        Programs that use it are refused from now on. This cannot be undone.
      </Confirm>
    </Page>
  );
}
