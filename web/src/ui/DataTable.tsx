import { Box, Table, TableBody, TableCell, TableContainer, TableHead, TableRow, useTheme } from '@mui/material';
import type { KeyboardEvent, ReactNode } from 'react';

export interface Column<R> {
  head: string;
  unit?: string;
  cell: (row: R) => ReactNode;
  right?: boolean; // numbers
  from?: 'sm' | 'md' | 'lg' | 'xl'; // narrower windows leave the column out
  width?: number | string;
  wrap?: boolean;
  grow?: boolean; // takes the room that is left, and is cut off with dots when that is little
}

interface Props<R> {
  label: string; // what the table holds, for screen readers
  columns: Column<R>[];
  rows: R[];
  rowKey: (row: R) => string;
  onOpen?: (row: R) => void;
  openLabel?: (row: R) => string;
  selected?: string;
  maxHeight?: number | string;
  empty: ReactNode;
}

// Up and down move among the rows, Home and End to the ends; Enter and Space open.
function onRowKey(event: KeyboardEvent<HTMLTableRowElement>, open: () => void): void {
  const row = event.currentTarget;
  if (event.target !== row) return;
  const move = (to: Element | null | undefined) => {
    if (!(to instanceof HTMLElement)) return;
    event.preventDefault();
    to.focus();
  };
  switch (event.key) {
    case 'Enter':
    case ' ':
      event.preventDefault();
      open();
      break;
    case 'ArrowDown':
      move(row.nextElementSibling);
      break;
    case 'ArrowUp':
      move(row.previousElementSibling);
      break;
    case 'Home':
      move(row.parentElement?.firstElementChild);
      break;
    case 'End':
      move(row.parentElement?.lastElementChild);
      break;
  }
}

export function DataTable<R>({ label, columns, rows, rowKey, onOpen, openLabel, selected, maxHeight, empty }: Props<R>) {
  const { tones } = useTheme();
  if (!rows.length) return <Box>{empty}</Box>;
  const shown = (c: Column<R>) => (c.from ? { display: { xs: 'none', [c.from]: 'table-cell' } } : {});
  return (
    <TableContainer sx={{ maxHeight }} role="region" aria-label={label} tabIndex={onOpen ? undefined : 0}>
      <Table size="small" stickyHeader aria-label={label}>
        <TableHead>
          <TableRow>
            {columns.map((c) => (
              <TableCell key={c.head} align={c.right ? 'right' : 'left'} sx={{ width: c.width, ...shown(c) }}>
                {c.head}
                {c.unit && (
                  <Box component="span" sx={{ color: tones.faint, ml: 0.5, fontWeight: 400 }}>
                    {c.unit}
                  </Box>
                )}
              </TableCell>
            ))}
          </TableRow>
        </TableHead>
        <TableBody>
          {rows.map((row) => {
            const key = rowKey(row);
            return (
              <TableRow
                key={key}
                data-row={key}
                selected={selected === key}
                {...(onOpen && {
                  tabIndex: 0,
                  'aria-label': openLabel?.(row),
                  onClick: () => onOpen(row),
                  onKeyDown: (e: KeyboardEvent<HTMLTableRowElement>) => onRowKey(e, () => onOpen(row)),
                })}
                sx={{
                  cursor: onOpen ? 'pointer' : undefined,
                  '&:hover': onOpen ? { background: tones.raised } : undefined,
                  '&:focus-visible': { outline: `2px solid ${tones.accent}`, outlineOffset: -2 },
                  '&:last-child td': { borderBottom: 0 },
                }}
              >
                {columns.map((c) => (
                  <TableCell
                    key={c.head}
                    align={c.right ? 'right' : 'left'}
                    sx={{
                      ...(c.wrap && { whiteSpace: 'normal', minWidth: 180 }),
                      ...(c.grow && { width: '100%', maxWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis' }),
                      ...shown(c),
                    }}
                  >
                    {c.cell(row)}
                  </TableCell>
                ))}
              </TableRow>
            );
          })}
        </TableBody>
      </Table>
    </TableContainer>
  );
}
