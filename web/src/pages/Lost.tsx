import { Box, Button } from '@mui/material';
import { Link, useRouteError } from 'react-router-dom';
import { Empty } from '../ui/parts';

export function NotFound() {
  return (
    <Empty
      title="There is no such page"
      action={
        <Button component={Link} to="/" variant="outlined">
          To the start
        </Button>
      }
    >
      The address may be old or mistyped.
    </Empty>
  );
}

export function Crash() {
  const error = useRouteError();
  return (
    <Box role="alert" sx={{ pt: 8 }}>
      <Empty
        title="This page failed"
        action={
          <Button variant="contained" onClick={() => window.location.reload()}>
            Reload
          </Button>
        }
      >
        {error instanceof Error ? `${error.message}. ` : ''}The platform itself is not affected. Reload; if it comes
        again, report what you did.
      </Empty>
    </Box>
  );
}
