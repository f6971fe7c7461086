import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const gateway = process.env.HCP_URL ?? 'http://127.0.0.1:8000';

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2021',
    rollupOptions: {
      output: {
        // Charts and components change rarely: browsers keep these two over releases of the portal.
        manualChunks: { charts: ['recharts'], base: ['react', 'react-dom', 'react-router-dom', '@mui/material'] },
      },
    },
    chunkSizeWarningLimit: 600,
  },
  server: { proxy: { '/api': { target: gateway, ws: true } } },
});
