import { SvgIcon, type SvgIconProps } from '@mui/material';

// One stroke weight, square ends: drawn for this portal.
function stroke(d: string) {
  return function Icon(props: SvgIconProps) {
    return (
      <SvgIcon {...props} aria-hidden="true">
        <path d={d} fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinejoin="round" strokeLinecap="round" />
      </SvgIcon>
    );
  };
}

export const OverviewIcon = stroke('M4 4h7v7H4zM13 4h7v4h-7zM13 11h7v9h-7zM4 14h7v6H4z');
export const FleetIcon = stroke('M4 5h16v5H4zM4 14h16v5H4zM7 7.5h.01M7 16.5h.01M11 7.5h6M11 16.5h6');
export const PriceIcon = stroke('M4 4v16h16M7 15l4-5 3 3 5-7');
export const WorkIcon = stroke('M4 6h16M4 12h16M4 18h10M17 16l2 2 3-4');
export const SwitchIcon = stroke('M4 8h13l-3-3M20 16H7l3 3');
export const ModelIcon = stroke('M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9');
export const CareIcon = stroke('M13 3L5 14h6l-1 7 8-11h-6z');
export const MoneyIcon = stroke('M12 3v18M16.5 7.5C15.5 6 13.8 5.5 12 5.5c-2.5 0-4.5 1.1-4.5 3.1 0 4.4 9.3 2.1 9.3 6.7 0 2.1-2.2 3.2-4.8 3.2-2.2 0-4-.8-5-2.5');
export const KeyIcon = stroke('M14 10a4 4 0 1 0-3.5 4L13 11.5h0zM13 12l7 7M17 16l2-2');
export const UsageIcon = stroke('M5 20V10M12 20V4M19 20v-7');
export const MenuIcon = stroke('M4 7h16M4 12h16M4 17h16');
export const CloseIcon = stroke('M6 6l12 12M18 6L6 18');
export const SunIcon = stroke('M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.5 1.5M17.5 17.5L19 19M5 19l1.5-1.5M17.5 6.5L19 5');
export const MoonIcon = stroke('M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z');
export const StopIcon = stroke('M8.2 3h7.6L21 8.2v7.6L15.8 21H8.2L3 15.8V8.2zM12 8v5M12 16.3h.01');
export const UserIcon = stroke('M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5');
export const PlusIcon = stroke('M12 5v14M5 12h14');
export const CopyIcon = stroke('M9 9h10v11H9zM5 15V4h10');
export const ArrowIcon = stroke('M5 12h14M13 6l6 6-6 6');
export const RetryIcon = stroke('M20 11a8 8 0 1 0-2.3 5.7M20 4v7h-7');

export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg viewBox="0 0 34 34" width={size} height={size} aria-hidden="true">
      <rect x="0" y="15" width="9" height="19" rx="2" fill="#f0a44b" />
      <rect x="12.5" y="0" width="9" height="34" rx="2" fill="#3ec6b4" />
      <rect x="25" y="23" width="9" height="11" rx="2" fill="#7db3ff" />
    </svg>
  );
}
