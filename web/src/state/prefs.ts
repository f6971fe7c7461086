import { createSlice, type PayloadAction } from '@reduxjs/toolkit';

export type ThemeMode = 'dark' | 'light';

const KEY = 'hcp.theme';

export function loadTheme(): ThemeMode {
  try {
    return localStorage.getItem(KEY) === 'light' ? 'light' : 'dark';
  } catch {
    return 'dark';
  }
}

const slice = createSlice({
  name: 'prefs',
  initialState: { theme: 'dark' as ThemeMode },
  reducers: {
    themeChosen: (state, { payload }: PayloadAction<ThemeMode>) => {
      state.theme = payload;
    },
  },
});

export function keepTheme(mode: ThemeMode): void {
  try {
    localStorage.setItem(KEY, mode);
  } catch {
    // Storage is off: the choice lasts as long as the page.
  }
}

export const { themeChosen } = slice.actions;
export const prefsReducer = slice.reducer;
