import '@fontsource/ibm-plex-mono/latin-400.css';
import '@fontsource/ibm-plex-sans/latin-400.css';
import '@fontsource/ibm-plex-sans/latin-500.css';
import '@fontsource/ibm-plex-sans/latin-600.css';
import { CssBaseline, ThemeProvider } from '@mui/material';
import { StrictMode, useMemo, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import { Provider } from 'react-redux';
import { createBrowserRouter, Navigate, RouterProvider, useLocation } from 'react-router-dom';
import { Decisions } from './pages/Decisions';
import { Fleet } from './pages/Fleet';
import { Keys } from './pages/Keys';
import { Landing } from './pages/Landing';
import { LoginPage } from './pages/Login';
import { Models } from './pages/Models';
import { Operations } from './pages/Operations';
import { Overview } from './pages/Overview';
import { Revenue } from './pages/Revenue';
import { Switches } from './pages/Switches';
import { Usage } from './pages/Usage';
import { WorkloadsPage } from './pages/Workloads';
import { isStaff } from './state/session';
import { resume, store, useAppSelector } from './state/store';
import { Crash, NotFound } from './pages/Lost';
import { Shell } from './ui/Shell';
import { makeTheme } from './ui/theme';

function Signed({ children }: { children: ReactNode }) {
  const token = useAppSelector((s) => s.session.token);
  const { pathname } = useLocation();
  return token ? children : <Navigate to="/login" replace state={{ from: pathname }} />;
}

function Staff({ children }: { children: ReactNode }) {
  const role = useAppSelector((s) => s.session.role);
  return isStaff(role) ? children : <Navigate to="/workloads" replace />;
}

const router = createBrowserRouter(
  [
    { path: '/', element: <Landing />, errorElement: <Crash /> },
    { path: '/login', element: <LoginPage />, errorElement: <Crash /> },
    {
      element: (
        <Signed>
          <Shell />
        </Signed>
      ),
      errorElement: <Crash />,
      children: [
        { path: '/overview', element: <Staff><Overview /></Staff> },
        { path: '/decisions', element: <Staff><Decisions /></Staff> },
        { path: '/decisions/:id', element: <Staff><Decisions /></Staff> },
        { path: '/fleet', element: <Staff><Fleet /></Staff> },
        { path: '/switches', element: <Staff><Switches /></Staff> },
        { path: '/operations', element: <Staff><Operations /></Staff> },
        { path: '/models', element: <Staff><Models /></Staff> },
        { path: '/revenue', element: <Staff><Revenue /></Staff> },
        { path: '/workloads', element: <WorkloadsPage /> },
        { path: '/workloads/:id', element: <WorkloadsPage /> },
        { path: '/usage', element: <Usage /> },
        { path: '/keys', element: <Keys /> },
        { path: '*', element: <NotFound /> },
      ],
    },
  ],
  { future: { v7_relativeSplatPath: true } },
);

function App() {
  const mode = useAppSelector((s) => s.prefs.theme);
  const theme = useMemo(() => makeTheme(mode), [mode]);
  return (
    <ThemeProvider theme={theme}>
      <CssBaseline enableColorScheme />
      <RouterProvider router={router} future={{ v7_startTransition: true }} />
    </ThemeProvider>
  );
}

void resume().finally(() =>
  createRoot(document.getElementById('root') as HTMLElement).render(
    <StrictMode>
      <Provider store={store}>
        <App />
      </Provider>
    </StrictMode>,
  ),
);
